"""The real S3 server that `tests/run` starts."""

import os

from pyarrow import fs


def required(name: str) -> str:
    value = os.environ.get(f"WHIMBREL_TEST_S3_{name}")
    assert value, f"WHIMBREL_TEST_S3_{name} is not set: tests/run starts an S3 server and sets it"
    return value


def endpoint() -> str:
    return required("ENDPOINT")


def bucket() -> str:
    return required("BUCKET")


def variables(at: str) -> dict[str, str]:
    """What a server, or deltalake, has to know to reach the store at this address."""
    return {
        "AWS_ENDPOINT_URL": at,
        "AWS_ACCESS_KEY_ID": required("ACCESS_KEY_ID"),
        "AWS_SECRET_ACCESS_KEY": required("SECRET_ACCESS_KEY"),
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


def names(url: str) -> list[str]:
    """Of the objects in a folder, as the store lists them."""
    store = fs.S3FileSystem(
        access_key=required("ACCESS_KEY_ID"),
        secret_key=required("SECRET_ACCESS_KEY"),
        endpoint_override=endpoint(),
        region="us-east-1",
    )
    return [entry.base_name for entry in store.get_file_info(fs.FileSelector(url.removeprefix("s3://")))]
