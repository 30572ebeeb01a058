"""The XML API of Google Cloud Storage in front of fake-gcs-server, which keeps the objects.

Whimbrel's client speaks the XML API; fake-gcs-server decides about generations and conditions, reads
and deletes with it, but takes new objects and their conditions only by the JSON API, and knows neither its pages
of listings nor its uploads in parts. These four are done here, as Google documents them
(cloud.google.com/storage/docs/xml-api).
"""

import http.client
import http.server
import json
import threading
import urllib.parse
import uuid
import xml.etree.ElementTree as ET

HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'
# Small, so that a listing has pages; Google's has at most 1,000.
PAGE = 50


class Front:
    """Listens on a port of its own. `conditions=False` is a store that does not look at them."""

    def __init__(self, behind: str, conditions: bool = True) -> None:
        uploads = {}
        seen = {"conditional": 0, "refused": 0, "pages": 0, "uploads": 0}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def behind(self, method, path, body=None, headers=None):
                connection = http.client.HTTPConnection(behind, timeout=60)
                try:
                    connection.request(method, path, body, {"Host": behind} | (headers or {}))
                    answer = connection.getresponse()
                    return answer.status, dict(answer.getheaders()), answer.read()
                finally:
                    connection.close()

            def answer(self, status, body=b"", headers=None):
                self.send_response(status)
                for name, value in (headers or {}).items():
                    if name.lower() not in ("content-length", "date", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def body(self):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def parts(self):
                url = urllib.parse.urlsplit(self.path)
                bucket, _, name = url.path.lstrip("/").partition("/")
                query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
                return bucket, urllib.parse.unquote(name), query

            def through(self):
                kept = ("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
                headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
                status, headers, body = self.behind(self.command, self.path, self.body() or None, headers)
                if self.command == "HEAD":
                    self.send_response(status)
                    for name, value in headers.items():
                        if name.lower() not in ("date", "connection"):
                            self.send_header(name, value)
                    self.end_headers()
                    return
                self.answer(status, body, headers)

            def create(self, bucket, name, body):
                query = {"uploadType": "media", "name": name}
                condition = self.headers.get("x-goog-if-generation-match")
                if condition is not None:
                    seen["conditional"] += 1
                    if conditions:
                        query["ifGenerationMatch"] = condition
                place = f"/upload/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(query)}"
                kind = {"Content-Type": "application/octet-stream"}
                status, _, answer = self.behind("POST", place, body, kind)
                if status != 200:
                    seen["refused"] += status == 412
                    return status, answer, {}
                made = json.loads(answer)
                return 200, b"", {"ETag": f'"{made["etag"]}"', "x-goog-generation": made["generation"]}

            def do_GET(self):
                bucket, name, query = self.parts()
                if name:
                    return self.through()
                wanted = {key: query[key] for key in ("prefix", "delimiter") if key in query}
                status, headers, body = self.behind("GET", f"/{bucket}?{urllib.parse.urlencode(wanted)}")
                if status != 200:
                    return self.answer(status, body, headers)
                after = max(query.get("start-after", ""), query.get("continuation-token", ""))
                found = []
                for entry in ET.fromstring(body):
                    if entry.tag in ("Contents", "CommonPrefixes"):
                        key = entry.findtext("Key") or entry.findtext("Prefix")
                        found.append((key, entry))
                found = sorted((one for one in found if one[0] > after), key=lambda one: one[0])
                size = min(int(query.get("max-keys", PAGE)), PAGE)
                result = ET.Element("ListBucketResult")
                ET.SubElement(result, "Name").text = bucket
                for _, entry in found[:size]:
                    result.append(entry)
                more = len(found) > size
                ET.SubElement(result, "IsTruncated").text = "true" if more else "false"
                if more:
                    seen["pages"] += 1
                    ET.SubElement(result, "NextContinuationToken").text = found[size - 1][0]
                self.answer(200, HEAD + ET.tostring(result), {"Content-Type": "application/xml"})

            def do_HEAD(self):
                self.through()

            def do_DELETE(self):
                _, _, query = self.parts()
                if "uploadId" in query:
                    uploads.pop(query["uploadId"], None)
                    return self.answer(204)
                status, headers, body = self.behind("DELETE", self.path)
                self.answer(204 if status == 200 else status, b"" if status == 200 else body, headers)

            def do_PUT(self):
                bucket, name, query = self.parts()
                body = self.body()
                if "uploadId" in query:
                    parts = uploads.get(query["uploadId"])
                    if parts is None:
                        return self.answer(404)
                    parts[int(query["partNumber"])] = body
                    return self.answer(200, headers={"ETag": f'"{query["partNumber"]}"'})
                if "x-goog-copy-source" in self.headers:
                    return self.answer(501)
                self.answer(*self.create(bucket, name, body))

            def do_POST(self):
                bucket, name, query = self.parts()
                body = self.body()
                if "uploads" in query:
                    upload = uuid.uuid4().hex
                    uploads[upload] = {}
                    result = ET.Element("InitiateMultipartUploadResult")
                    for tag, text in (("Bucket", bucket), ("Key", name), ("UploadId", upload)):
                        ET.SubElement(result, tag).text = text
                    return self.answer(200, HEAD + ET.tostring(result))
                parts = uploads.pop(query.get("uploadId"), None)
                if parts is None:
                    return self.answer(404)
                numbers = [int(part.findtext("PartNumber")) for part in ET.fromstring(body)]
                if sorted(parts) != numbers:
                    return self.answer(400, b"the parts are others")
                seen["uploads"] += 1
                whole = b"".join(parts[number] for number in numbers)
                status, answer, headers = self.create(bucket, name, whole)
                if status != 200:
                    return self.answer(status, answer)
                result = ET.Element("CompleteMultipartUploadResult")
                for tag, text in (("Bucket", bucket), ("Key", name), ("ETag", headers["ETag"])):
                    ET.SubElement(result, tag).text = text
                self.answer(200, HEAD + ET.tostring(result), headers)

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.listener = Listener(("127.0.0.1", 0), Handler)
        self.seen = seen
        self.url = f"http://127.0.0.1:{self.listener.server_address[1]}"
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.listener.shutdown()
        self.listener.server_close()
