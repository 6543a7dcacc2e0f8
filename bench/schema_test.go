package bench

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFieldsOfTheJSONAreTheGoldenFile lists the path of every field a report's JSON
// may have: others read it, so no name may change.
func TestFieldsOfTheJSONAreTheGoldenFile(t *testing.T) {
	var paths []string
	fields(reflect.TypeFor[Report](), "", &paths)
	slices.Sort(paths)
	golden(t, "fields.txt", []byte(strings.Join(slices.Compact(paths), "\n")+"\n"))
}

// fields adds the paths of a type's fields as encoding/json names them.
func fields(typ reflect.Type, path string, all *[]string) {
	switch typ.Kind() {
	case reflect.Pointer:
		fields(typ.Elem(), path, all)
	case reflect.Slice, reflect.Array:
		fields(typ.Elem(), path+"[]", all)
	case reflect.Map:
		fields(typ.Elem(), path+".*", all)
	case reflect.Struct:
		if typ == reflect.TypeFor[time.Time]() {
			*all = append(*all, path)
			return
		}
		for f := range structFields(typ) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous && name == "" {
				fields(f.Type, path, all)
			} else {
				fields(f.Type, path+"."+name, all)
			}
		}
	default:
		*all = append(*all, path)
	}
}

func structFields(typ reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

func TestAReportIsReadAsItWasWritten(t *testing.T) {
	r := fixedReport()
	var first, second strings.Builder
	if err := r.Write(&first); err != nil {
		t.Fatal(err)
	}
	back, err := ReadReport(strings.NewReader(first.String()))
	if err != nil {
		t.Fatal(err)
	}
	back.summarize() // from the trials alone
	if err := back.Write(&second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Error("a report that is read and summarized again is another")
	}
}

func TestAReportOfAnotherSchemaIsRefused(t *testing.T) {
	for text, want := range map[string]string{`{"schema": 1}`: "schema 1", `{`: "unexpected EOF"} {
		if _, err := ReadReport(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
