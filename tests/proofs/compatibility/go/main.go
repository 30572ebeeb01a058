// What the Flight SQL client of arrow-go sees. Arguments: the file of cases that matrix.py writes, the address, the
// address with TLS, the file of the authority. Prints a line for each case.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const (
	user     = "ada"
	password = "pä55:word"
	// A write that was rolled back: refused at once, or undone.
	nothingStayed = "nothing stayed"
)

// The client has no call for this.
var errNoSuchCall = errors.New("")

// Runner asks one server.
type Runner struct {
	ctx                            context.Context
	client                         *flightsql.Client
	address, tlsAddress, authority string
	plan                           []byte
	names                          int
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	cases, err := os.Open(os.Args[1])
	check(err)
	client, err := flightsql.NewClient(os.Args[2], nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	plan, err := hex.DecodeString(os.Args[5])
	check(err)
	r := &Runner{context.Background(), client, os.Args[2], os.Args[3], os.Args[4], plan, 0}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == "github.com/apache/arrow-go/v18" {
				fmt.Println("version\t" + strings.TrimPrefix(dependency.Version, "v"))
			}
		}
	}
	commands := r.commands()
	lines := bufio.NewScanner(cases)
	for lines.Scan() {
		part := strings.Split(lines.Text(), "\t")
		group, name, kind, query, expected, store := part[0], part[1], part[2], part[3], part[4], part[5]
		ask := commands[name]
		switch group {
		case "Types, read":
			ask = func() (string, error) { return r.read(kind, query) }
		case "Types, as parameters":
			ask = func() (string, error) { return r.bind(kind, expected, store) }
		}
		fmt.Printf("%s\t%s\t%s\n", group, name, answer(ask, expected))
	}
	check(lines.Err())
}

func answer(ask func() (string, error), expected string) string {
	if ask == nil {
		return "none\t"
	}
	got, err := ask()
	switch {
	case errors.Is(err, errNoSuchCall):
		return "none\t"
	case err != nil:
		return "no\t" + oneLine(err.Error())
	case got != expected:
		return "no\t" + oneLine("'"+got+"', not '"+expected+"'")
	}
	return "yes\t"
}

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 300)]
}

// --- rows -------------------------------------------------------------------------------------------

func (r *Runner) fetch(info *flight.FlightInfo, err error) ([]arrow.RecordBatch, error) {
	if err != nil {
		return nil, err
	}
	var batches []arrow.RecordBatch
	for _, endpoint := range info.Endpoint {
		reader, err := r.client.DoGet(r.ctx, endpoint.Ticket)
		if err != nil {
			return nil, err
		}
		for reader.Next() {
			batch := reader.RecordBatch()
			batch.Retain()
			batches = append(batches, batch)
		}
		if err := reader.Err(); err != nil && err != io.EOF {
			return nil, err
		}
	}
	return batches, nil
}

func (r *Runner) rows(query string) ([]arrow.RecordBatch, error) {
	return r.fetch(r.client.Execute(r.ctx, query))
}

// text has the values of a column, of all rows.
func text(batches []arrow.RecordBatch, err error) func(columns ...string) ([]string, error) {
	return func(columns ...string) ([]string, error) {
		var found []string
		for _, batch := range batches {
			for row := 0; row < int(batch.NumRows()); row++ {
				var values []string
				for _, column := range columns {
					values = append(values, batch.Column(batch.Schema().FieldIndices(column)[0]).ValueStr(row))
				}
				found = append(found, strings.Join(values, ":"))
			}
		}
		return found, err
	}
}

func (r *Runner) first(query string) (string, error) {
	batches, err := r.rows(query)
	if err != nil {
		return "", err
	}
	for _, batch := range batches {
		if batch.NumRows() > 0 {
			return batch.Column(0).ValueStr(0), nil
		}
	}
	return "", errors.New("no rows")
}

func (r *Runner) table(columns string) (string, error) {
	name := fmt.Sprintf("go_%d_%d", os.Getpid(), r.names)
	r.names++
	_, err := r.client.ExecuteUpdate(r.ctx, fmt.Sprintf("CREATE TABLE %s (%s)", name, columns))
	return name, err
}

// --- values -----------------------------------------------------------------------------------------

func (r *Runner) read(kind, expression string) (string, error) {
	return firstWritten(kind)(r.rows("SELECT " + expression + " AS v"))
}

func firstWritten(kind string) func([]arrow.RecordBatch, error) (string, error) {
	return func(batches []arrow.RecordBatch, err error) (string, error) {
		if err != nil {
			return "", err
		}
		for _, batch := range batches {
			if batch.NumRows() > 0 {
				return written(kind, batch.Column(0))
			}
		}
		return "", errors.New("no rows")
	}
}

func written(kind string, column arrow.Array) (string, error) {
	if column.IsNull(0) {
		return "null", nil
	}
	micros := func(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000000") }
	switch values := column.(type) {
	case *array.Boolean:
		return strconv.FormatBool(values.Value(0)), nil
	case *array.Float32:
		return strconv.FormatFloat(float64(values.Value(0)), 'f', -1, 32), nil
	case *array.Float64:
		return strconv.FormatFloat(values.Value(0), 'f', -1, 64), nil
	case *array.Decimal128:
		return values.Value(0).ToString(values.DataType().(*arrow.Decimal128Type).Scale), nil
	case *array.Binary:
		return hex.EncodeToString(values.Value(0)), nil
	case *array.Date32:
		return values.Value(0).ToTime().Format("2006-01-02"), nil
	case *array.Time64:
		return values.Value(0).ToTime(values.DataType().(*arrow.Time64Type).Unit).Format("15:04:05.000000"), nil
	case *array.Timestamp:
		unit := values.DataType().(*arrow.TimestampType)
		zone := ""
		if unit.TimeZone != "" {
			zone = "Z"
		}
		return micros(values.Value(0).ToTime(unit.Unit)) + zone, nil
	case *array.MonthDayNanoInterval:
		value := values.Value(0)
		return fmt.Sprintf("%d %d %d", value.Months, value.Days, value.Nanoseconds/1000), nil
	case *array.Map:
		entries := map[string]any{}
		for n := 0; n < values.Keys().Len(); n++ {
			entries[values.Keys().ValueStr(n)] = values.Items().GetOneForMarshal(n)
		}
		return marshalled(entries)
	}
	if kind == "json" {
		return marshalled(column.GetOneForMarshal(0))
	}
	return column.ValueStr(0), nil
}

func marshalled(value any) (string, error) {
	found, err := json.Marshal(value)
	return string(found), err
}

func (r *Runner) bind(kind, value, store string) (string, error) {
	table, err := r.table("v " + store)
	if err != nil {
		return "", err
	}
	row, err := parameter(kind, value)
	if err != nil {
		return "", err
	}
	insert, err := r.client.Prepare(r.ctx, "INSERT INTO "+table+" VALUES (?)")
	if err != nil {
		return "", err
	}
	defer insert.Close(r.ctx)
	insert.SetParameters(row)
	if _, err := insert.ExecuteUpdate(r.ctx); err != nil {
		return "", err
	}
	if kind == "null" {
		return firstWritten(kind)(r.rows("SELECT v FROM " + table))
	}
	query, err := r.client.Prepare(r.ctx, "SELECT v FROM "+table+" WHERE v = ?")
	if err != nil {
		return "", err
	}
	defer query.Close(r.ctx)
	query.SetParameters(row)
	return firstWritten(kind)(r.fetch(query.Execute(r.ctx)))
}

func parameter(kind, value string) (arrow.RecordBatch, error) {
	var of arrow.DataType
	switch kind {
	case "bool":
		of = arrow.FixedWidthTypes.Boolean
	case "int", "null":
		of = arrow.PrimitiveTypes.Int64
	case "float":
		of = arrow.PrimitiveTypes.Float64
	case "decimal":
		of = &arrow.Decimal128Type{Precision: 38, Scale: int32(len(value) - strings.Index(value, ".") - 1)}
	case "text":
		of = arrow.BinaryTypes.String
	case "bytes":
		raw, err := hex.DecodeString(value)
		if err != nil {
			return nil, err
		}
		of, value = arrow.BinaryTypes.Binary, base64.StdEncoding.EncodeToString(raw)
	case "date":
		of = arrow.FixedWidthTypes.Date32
	case "timestamp":
		of = &arrow.TimestampType{Unit: arrow.Microsecond}
	case "timestamptz":
		of = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	default:
		return nil, errors.New(kind)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "1", Type: of, Nullable: true}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	if kind == "null" {
		builder.Field(0).AppendNull()
	} else if err := builder.Field(0).AppendValueFromString(value); err != nil {
		return nil, err
	}
	return builder.NewRecordBatch(), nil
}

// --- commands ---------------------------------------------------------------------------------------

func sorted(found []string, err error) (string, error) {
	sort.Strings(found)
	return strings.Join(found, ","), err
}

func (r *Runner) prepared(query string, row arrow.RecordBatch) ([]arrow.RecordBatch, error) {
	statement, err := r.client.Prepare(r.ctx, query)
	if err != nil {
		return nil, err
	}
	defer statement.Close(r.ctx)
	statement.SetParameters(row)
	return r.fetch(statement.Execute(r.ctx))
}

func record(columns ...any) arrow.RecordBatch {
	var fields []arrow.Field
	var values []arrow.Array
	for n, column := range columns {
		switch column := column.(type) {
		case []int64:
			builder := array.NewInt64Builder(memory.DefaultAllocator)
			builder.AppendValues(column, nil)
			values = append(values, builder.NewArray())
		case []string:
			builder := array.NewStringBuilder(memory.DefaultAllocator)
			builder.AppendValues(column, nil)
			values = append(values, builder.NewArray())
		}
		name := "id"
		if len(columns) > 1 {
			name = strconv.Itoa(n + 1)
		}
		fields = append(fields, arrow.Field{Name: name, Type: values[n].DataType(), Nullable: true})
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), values, int64(values[0].Len()))
}

func (r *Runner) parameters(first, second string) (string, error) {
	query := "SELECT a, b FROM (VALUES (1, 'a'), (2, 'b')) AS t (a, b) WHERE a = " + first + " AND b = " + second
	found, err := text(r.prepared(query, record([]int64{2}, []string{"b"})))("a", "b")
	return strings.ReplaceAll(strings.Join(found, ","), ":", "|"), err
}

func (r *Runner) commands() map[string]func() (string, error) {
	schema := "compat_schema"
	pattern := "compat\\_schema"
	orders := flightsql.TableRef{DBSchema: &schema, Table: "orders"}
	return map[string]func() (string, error){
		"query": func() (string, error) {
			found, err := text(r.rows("SELECT 1 AS a, 'x' AS b"))("a", "b")
			return strings.ReplaceAll(strings.Join(found, ","), ":", "|"), err
		},
		"query of a million rows": func() (string, error) {
			batches, err := r.rows("SELECT value FROM generate_series(0, 999999)")
			count, sum := int64(0), int64(0)
			for _, batch := range batches {
				for _, value := range batch.Column(0).(*array.Int64).Int64Values() {
					count, sum = count+1, sum+value
				}
			}
			return fmt.Sprintf("%d|%d", count, sum), err
		},
		"query without rows has its columns": func() (string, error) {
			info, err := r.client.Execute(r.ctx, "SELECT 1 AS a, 'x' AS b WHERE false")
			if err != nil {
				return "", err
			}
			reader, err := r.client.DoGet(r.ctx, info.Endpoint[0].Ticket)
			if err != nil {
				return "", err
			}
			rows := int64(0)
			for reader.Next() {
				rows += reader.RecordBatch().NumRows()
			}
			return fmt.Sprintf("%s|%d", names(reader.Schema()), rows), nil
		},
		"update tells its count": func() (string, error) {
			table, err := r.table("a BIGINT")
			if err != nil {
				return "", err
			}
			count, err := r.client.ExecuteUpdate(r.ctx, "INSERT INTO "+table+" VALUES (1), (2), (3)")
			return strconv.FormatInt(count, 10), err
		},
		"DDL and DML take effect once": func() (string, error) {
			table, err := r.table("a BIGINT")
			if err != nil {
				return "", err
			}
			// As a query, which many programs do.
			if _, err := r.rows("INSERT INTO " + table + " VALUES (1)"); err != nil {
				return "", err
			}
			return r.first("SELECT count(*) FROM " + table)
		},
		"parameters `?` or `%s`": func() (string, error) { return r.parameters("?", "?") },
		"parameters `$1`":        func() (string, error) { return r.parameters("$1", "$2") },
		"prepared query, run again": func() (string, error) {
			table, err := r.table("a BIGINT")
			if err != nil {
				return "", err
			}
			query, err := r.client.Prepare(r.ctx, "SELECT count(*) AS n FROM "+table+" WHERE a > ?")
			if err != nil {
				return "", err
			}
			defer query.Close(r.ctx)
			var found []string
			for n := 1; n <= 2; n++ {
				if _, err := r.client.ExecuteUpdate(r.ctx, fmt.Sprintf("INSERT INTO %s VALUES (%d)", table, n)); err != nil {
					return "", err
				}
				query.SetParameters(record([]int64{0}))
				count, err := text(r.fetch(query.Execute(r.ctx)))("n")
				if err != nil {
					return "", err
				}
				found = append(found, count...)
			}
			return strings.Join(found, "|"), nil
		},
		"prepared update with many rows is one commit": func() (string, error) {
			table, err := r.table("a BIGINT, b STRING")
			if err != nil {
				return "", err
			}
			insert, err := r.client.Prepare(r.ctx, "INSERT INTO "+table+" VALUES (?, ?)")
			if err != nil {
				return "", err
			}
			defer insert.Close(r.ctx)
			insert.SetParameters(record([]int64{1, 2, 3}, []string{"a", "b", "c"}))
			count, err := insert.ExecuteUpdate(r.ctx)
			if err != nil {
				return "", err
			}
			commits, err := text(r.rows("DESCRIBE HISTORY " + table))("version")
			return fmt.Sprintf("%d|%d", count, len(commits)-1), err
		},
		"columns before execution": func() (string, error) {
			result, err := r.client.GetExecuteSchema(r.ctx, "SELECT 1 AS a, 'x' AS b")
			if err != nil {
				return "", err
			}
			columns, err := flight.DeserializeSchema(result.Schema, memory.DefaultAllocator)
			if err != nil {
				return "", err
			}
			return names(columns), nil
		},
		"a mistake is told, and the session goes on": func() (string, error) {
			_, err := r.rows("SELECT * FROM no_such_table")
			if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "no_such_table") {
				return fmt.Sprint(err), nil
			}
			return r.first("SELECT 1")
		},
		"cancel": r.cancel,
		"bulk ingest: create, append, replace": func() (string, error) {
			name, err := r.table("id BIGINT")
			if err != nil {
				return "", err
			}
			name += "_ingest"
			var told []string
			for n, ids := range [][]int64{{1, 2}, {3, 4}, {5}} {
				options := &flightsql.TableDefinitionOptions{IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate, IfExists: flightsql.TableDefinitionOptionsTableExistsOptionFail}
				if n == 1 {
					options.IfNotExist, options.IfExists = flightsql.TableDefinitionOptionsTableNotExistOptionFail, flightsql.TableDefinitionOptionsTableExistsOptionAppend
				}
				if n == 2 {
					options.IfExists = flightsql.TableDefinitionOptionsTableExistsOptionReplace
				}
				batch := record(ids)
				reader, err := array.NewRecordReader(batch.Schema(), []arrow.RecordBatch{batch})
				if err != nil {
					return "", err
				}
				if _, err := r.client.ExecuteIngest(r.ctx, reader, &flightsql.ExecuteIngestOpts{TableDefinitionOptions: options, Table: name}); err != nil {
					return "", err
				}
				count, err := r.first("SELECT count(*) FROM " + name)
				if err != nil {
					return "", err
				}
				told = append(told, count)
			}
			return strings.Join(told, "|"), nil
		},
		"rollback of a write": func() (string, error) {
			table, err := r.table("a BIGINT")
			if err != nil {
				return "", err
			}
			transaction, err := r.client.BeginTransaction(r.ctx)
			if status.Code(err) == codes.Unimplemented {
				return nothingStayed, nil
			} else if err != nil {
				return "", err
			}
			_, refused := transaction.ExecuteUpdate(r.ctx, "INSERT INTO "+table+" VALUES (1)")
			if err := transaction.Rollback(r.ctx); err != nil {
				return "", err
			}
			if refused != nil {
				return nothingStayed, nil
			}
			count, err := r.first("SELECT count(*) FROM " + table)
			if count == "0" {
				return nothingStayed, err
			}
			return count + " rows stayed", err
		},
		"Substrait plan": func() (string, error) {
			return firstWritten("int")(r.fetch(r.client.ExecuteSubstrait(r.ctx, flightsql.SubstraitPlan{Plan: r.plan})))
		},
		"catalogs": func() (string, error) {
			return sorted(text(r.fetch(r.client.GetCatalogs(r.ctx)))("catalog_name"))
		},
		"schemas": func() (string, error) {
			like := "compat\\_%"
			return sorted(text(r.fetch(r.client.GetDBSchemas(r.ctx, &flightsql.GetDBSchemasOpts{DbSchemaFilterPattern: &like})))("db_schema_name"))
		},
		"tables, by pattern and type": func() (string, error) {
			options := &flightsql.GetTablesOpts{DbSchemaFilterPattern: &pattern, TableTypes: []string{"TABLE", "VIEW"}}
			return sorted(text(r.fetch(r.client.GetTables(r.ctx, options)))("table_name", "table_type"))
		},
		"table types": func() (string, error) {
			return sorted(text(r.fetch(r.client.GetTableTypes(r.ctx)))("table_type"))
		},
		"columns of a table": func() (string, error) {
			name := "orders"
			options := &flightsql.GetTablesOpts{DbSchemaFilterPattern: &pattern, TableNameFilterPattern: &name, IncludeSchema: true}
			batches, err := r.fetch(r.client.GetTables(r.ctx, options))
			if err != nil {
				return "", err
			}
			column := batches[0].Column(batches[0].Schema().FieldIndices("table_schema")[0]).(*array.Binary)
			columns, err := flight.DeserializeSchema(column.Value(0), memory.DefaultAllocator)
			if err != nil {
				return "", err
			}
			return names(columns), nil
		},
		"primary key": func() (string, error) {
			return sorted(text(r.fetch(r.client.GetPrimaryKeys(r.ctx, orders)))("column_name"))
		},
		"foreign keys": func() (string, error) {
			var counts []string
			for _, ask := range []func() (*flight.FlightInfo, error){
				func() (*flight.FlightInfo, error) { return r.client.GetImportedKeys(r.ctx, orders) },
				func() (*flight.FlightInfo, error) { return r.client.GetExportedKeys(r.ctx, orders) },
				func() (*flight.FlightInfo, error) { return r.client.GetCrossReference(r.ctx, orders, orders) },
			} {
				found, err := text(r.fetch(ask()))("fk_table_name")
				if err != nil {
					return "", err
				}
				counts = append(counts, strconv.Itoa(len(found)))
			}
			return strings.Join(counts, "|"), nil
		},
		"types of the server": func() (string, error) {
			found, err := text(r.fetch(r.client.GetXdbcTypeInfo(r.ctx, nil)))("type_name")
			for _, name := range found {
				if name == "BIGINT" {
					return "has BIGINT", err
				}
			}
			return strings.Join(found, ","), err
		},
		"name of the server": func() (string, error) {
			batches, err := r.fetch(r.client.GetSqlInfo(r.ctx, []flightsql.SqlInfo{flightsql.SqlInfoFlightSqlServerName}))
			if err != nil {
				return "", err
			}
			value := batches[0].Column(1).(*array.DenseUnion)
			return value.Field(value.ChildID(0)).ValueStr(int(value.ValueOffset(0))), nil
		},
		"schema of the session": func() (string, error) {
			client, err := flightsql.NewClient(r.address, nil, []flight.ClientMiddleware{flight.NewClientCookieMiddleware()}, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return "", err
			}
			defer client.Close()
			options, err := flight.NewSessionOptionValues(map[string]any{"schema": schema})
			if err != nil {
				return "", err
			}
			result, err := client.SetSessionOptions(r.ctx, &flight.SetSessionOptionsRequest{SessionOptions: options})
			if err != nil {
				return "", err
			}
			if len(result.GetErrors()) > 0 {
				return fmt.Sprint(result.GetErrors()), nil
			}
			other := *r
			other.client = client
			return other.first("SELECT count(*) FROM orders")
		},
		"login with a password, over TLS": func() (string, error) { return r.login(password) },
		"a wrong password is refused": func() (string, error) {
			who, err := r.login("wrong")
			if status.Code(err) == codes.Unauthenticated {
				return "refused", nil
			}
			return who, err
		},
		"progress of a long statement (PollFlightInfo)": func() (string, error) {
			poll, err := r.client.ExecutePoll(r.ctx, "SELECT 1 AS a", nil)
			for err == nil && poll.GetFlightDescriptor() != nil {
				poll, err = r.client.ExecutePoll(r.ctx, "SELECT 1 AS a", poll.GetFlightDescriptor())
			}
			if err != nil {
				return "", err
			}
			found, err := text(r.fetch(poll.GetInfo(), nil))("a")
			if len(found) == 1 {
				return "done", err
			}
			return fmt.Sprint(found), err
		},
		"renew an endpoint": func() (string, error) {
			info, err := r.client.Execute(r.ctx, "SELECT 1 AS a")
			if err != nil {
				return "", err
			}
			endpoint, err := r.client.RenewFlightEndpoint(r.ctx, &flight.RenewFlightEndpointRequest{Endpoint: info.Endpoint[0]})
			if err != nil {
				return "", err
			}
			info.Endpoint[0] = endpoint
			return firstWritten("int")(r.fetch(info, nil))
		},
	}
}

func names(schema *arrow.Schema) string {
	var found []string
	for _, field := range schema.Fields() {
		found = append(found, field.Name)
	}
	return strings.Join(found, ",")
}

func (r *Runner) cancel() (string, error) {
	mark := fmt.Sprintf("go_%d_%d", os.Getpid(), r.names)
	r.names++
	slow := "SELECT count(*) AS " + mark + " FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b WHERE a.value % 7 = b.value % 11"
	running := func(andSo string) (string, error) {
		return r.first("SELECT count(*) FROM system.queries WHERE finished_at IS NULL AND sql LIKE '%" + mark + "%' AND sql NOT LIKE '%system.queries%'" + andSo)
	}
	info, err := r.client.Execute(r.ctx, slow)
	if err != nil {
		return "", err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = r.fetch(info, nil)
	}()
	for n := 0; n < 400; n++ {
		if count, err := running(" AND state = 'RUNNING'"); err != nil || count != "0" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := r.client.CancelFlightInfo(r.ctx, &flight.CancelFlightInfoRequest{Info: info}); err != nil {
		return "", err
	}
	<-ended
	for n := 0; n < 400; n++ {
		count, err := running("")
		if err != nil || count == "0" {
			return "cancelled", err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return "still running", nil
}

func (r *Runner) login(password string) (string, error) {
	pem, err := os.ReadFile(r.authority)
	if err != nil {
		return "", err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client, err := flightsql.NewClient(r.tlsAddress, nil, nil, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool})))
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, err := client.Client.AuthenticateBasicToken(r.ctx, user, password)
	if err != nil {
		return "", err
	}
	other := *r
	other.ctx, other.client = ctx, client
	return other.first("SELECT current_user")
}
