package control

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/sched/sim"
)

// schema is the part of a JSON schema that depends on the types.
type schema struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Enum       []string          `json:"enum"`
	Maximum    float64           `json:"maximum"`
}

type document struct {
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

func openAPIDocument(t *testing.T) (d document) {
	t.Helper()
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	var want, got []string
	for _, r := range (&Server{}).routes() {
		want = append(want, r.pattern)
	}
	for path, operations := range openAPIDocument(t).Paths {
		for method := range operations {
			got = append(got, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes of the server and of openapi.json:\n%s", diff)
	}
}

func TestOpenAPIHasTheTypes(t *testing.T) {
	schemas := openAPIDocument(t).Components.Schemas
	for name, v := range map[string]any{
		"Service": config.Service{}, "Server": config.Server{}, "Stats": config.Stats{},
		"ServiceState": config.ServiceState{}, "ServerState": config.ServerState{},
		"Connection": config.Connection{}, "Timeouts": config.Timeouts{}, "Daemon": config.Daemon{},
		"Command": config.Command{}, "Batch": config.Batch{}, "BatchResult": config.BatchResult{},
		"Problem": config.Problem{}, "Failure": failure{}, "About": config.About{},
		"Policy": config.Policy{}, "SynProxy": config.SynProxy{}, "VIP": config.VIP{}, "VIPSetting": config.VIPSetting{}, "Key": config.Key{}, "MarkRule": config.MarkRule{}, "Sysctl": config.Sysctl{},
		"Trace": config.Trace{}, "Step": config.Step{}, "Change": config.Change{}, "SentFrame": config.SentFrame{},
		"DryPacket": config.DryPacket{}, "Explanation": config.Explanation{}, "Meaning": config.Meaning{}, "Drops": config.Drops{},
		"Account": config.Account{}, "Event": config.Event{}, "Waiting": config.Waiting{},
		"Summary": config.Summary{}, "ServiceSummary": config.ServiceSummary{}, "ServerSummary": config.ServerSummary{}, "Decision": config.Decision{},
		"Recording": sim.Line{}, "Recorded": sim.Recorded{}, "RecordedServer": sim.RecordedServer{},
		"Check": config.Check{}, "CheckNow": config.CheckNow{}, "CheckState": config.CheckState{}, "ProbeResult": config.ProbeResult{}, "Refusals": config.Refusals{},
	} {
		fields := fieldsOf(reflect.TypeOf(v))
		want := slices.Sorted(maps.Keys(fields))
		got := slices.Sorted(maps.Keys(schemas[name].Properties))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("fields of %s and of openapi.json:\n%s", name, diff)
		}
		for field, property := range schemas[name].Properties {
			if want := jsonType(fields[field]); property.Ref == "" && property.Type != want {
				t.Errorf("%s.%s is a %s in openapi.json, want %s", name, field, property.Type, want)
			}
		}
	}
}

func jsonType(t reflect.Type) string {
	if readsText(t) || t == reflect.TypeFor[[]byte]() {
		return "string"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Slice:
		return "array"
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Float64:
		return "number"
	}
	return "integer"
}

func TestOpenAPIHasTheCodesAndOperations(t *testing.T) {
	schemas := openAPIDocument(t).Components.Schemas
	for _, code := range schemas["Problem"].Properties["code"].Enum {
		if code != "internal" && code != "no_such_path" && code != "busy" && config.ErrorOf(code) == nil {
			t.Errorf("openapi.json has code %s, which stands for no error", code)
		}
	}
	for _, err := range []error{config.ErrServiceExists, config.ErrNoSuchService, config.ErrServerExists,
		config.ErrNoSuchServer, config.ErrNoScheduler, config.ErrRange, config.ErrInvalid, config.ErrLocalExists,
		config.ErrNoSuchLocal, config.ErrNoSuchMark, config.ErrDaemonExists, config.ErrNoDaemon, config.ErrNoDevice, config.ErrCheckExists, config.ErrNoSuchCheck, config.ErrRefused} {
		if !slices.Contains(schemas["Problem"].Properties["code"].Enum, config.Code(err)) {
			t.Errorf("openapi.json lacks code %s", config.Code(err))
		}
	}
	for _, op := range schemas["Command"].Properties["op"].Enum {
		err := config.Command{Op: config.Op(op)}.Validate()
		if err != nil && strings.HasPrefix(err.Error(), "op:") {
			t.Errorf("openapi.json has a command %s: %v", op, err)
		}
	}
}

// Each answer has all required fields, and all fields of answers are described.
func TestAnswersAreAsOpenAPISays(t *testing.T) {
	socket, _ := start(t)
	d := openAPIDocument(t)
	ask(t, socket, "POST", "/v1/services", aService)
	ask(t, socket, "POST", "/v1/services/tcp:10.0.0.1:80/servers", `{"address":"10.1.0.1","port":80}`)
	ask(t, socket, "PUT", "/v1/services/tcp:10.0.0.1:80/policy", `{"gone":"reset","drain":30,"udp_reschedule":true}`)
	ask(t, socket, "POST", "/v1/marks", `{"destination":"10.0.0.1/32","protocol":"tcp","destination_ports":"80","mark":1}`)
	ask(t, socket, "POST", "/v1/daemons", `{"state":"backup","interface":"eth0"}`)
	for path, name := range map[string]string{
		"/v1/about": "About", "/v1/services": "ServiceState", "/v1/services/tcp:10.0.0.1:80": "ServiceState",
		"/v1/totals": "Stats", "/v1/connections": "Connection", "/v1/timeouts": "Timeouts", "/v1/daemons": "Daemon",
		"/v1/marks": "MarkRule", "/v1/vips": "VIP", "/v1/sysctl": "Sysctl",
		"/v1/nothing": "Failure",
	} {
		status, text := ask(t, socket, "GET", path, "")
		if want := name == "Failure"; (status != http.StatusOK) != want {
			t.Errorf("%s: status %d", path, status)
		}
		var answer any
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		d.fits(t, path, answer, d.Components.Schemas[name])
	}
}

func (d document) fits(t *testing.T, where string, v any, s schema) {
	t.Helper()
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = d.Components.Schemas[name]
	}
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			d.fits(t, where+"[]", element, s)
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				t.Errorf("%s lacks %s", where, name)
			}
		}
		for name, value := range v {
			property, ok := s.Properties[name]
			if !ok {
				t.Errorf("%s has %s, which openapi.json does not", where, name)
			}
			if property.Type == "array" && name == "servers" {
				property = d.Components.Schemas["ServerState"]
			}
			d.fits(t, where+"."+name, value, property)
		}
	case string:
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
			t.Errorf("%s is %q, which openapi.json does not list", where, v)
		}
	}
}

// fieldsOf returns the JSON fields of a struct with their types; those of
// embedded structs count as its own.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.Anonymous && f.IsExported() && name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields
}

// readsText reports whether JSON sees the type as a text.
func readsText(t reflect.Type) bool {
	_, ok := reflect.New(t).Interface().(interface{ UnmarshalText([]byte) error })
	return ok
}
