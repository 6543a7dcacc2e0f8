package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"uvs/forwarder/config"
)

// decode reads one JSON value into v and nothing else. Unknown fields, values
// of a wrong type and values that do not fit are refused with a FieldError that
// gives the path of the field.
func decode(r io.Reader, v any) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err = d.Decode(v)
	if err == nil {
		return atEnd(d)
	}
	t := reflect.TypeOf(v).Elem()
	if err := explain(body, t, ""); err != nil {
		return err
	}
	if path := unknown(body, t, ""); path != "" {
		return &config.FieldError{Field: path, Problem: "there is no such field"}
	}
	return &config.FieldError{Field: "body", Problem: err.Error()}
}

func atEnd(d *json.Decoder) error {
	if _, err := d.Token(); err != io.EOF {
		return &config.FieldError{Field: "body", Problem: "something follows the JSON value"}
	}
	return nil
}

// explain finds the first part of a value that a type does not take. It is
// slow and runs only after a failure.
func explain(raw []byte, t reflect.Type, path string) error {
	v := reflect.New(t)
	err := json.Unmarshal(raw, v.Interface())
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return &config.FieldError{Field: orBody(path), Problem: fmt.Sprintf("not JSON at byte %d: %s", syntax.Offset, syntax)}
	}
	for _, part := range partsOf(raw, t, path) {
		if err := explain(part.raw, part.t, part.path); err != nil {
			return err
		}
	}
	if field := unknown(raw, t, path); field != "" {
		return &config.FieldError{Field: field, Problem: "there is no such field"}
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return &config.FieldError{Field: orBody(path), Problem: fmt.Sprintf("%s is no value for %s", kind.Value, nameOf(t))}
	}
	return &config.FieldError{Field: orBody(path), Problem: err.Error()}
}

func orBody(path string) string {
	if path == "" {
		return "body"
	}
	return path
}

func nameOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	case reflect.Pointer:
		return nameOf(t.Elem())
	}
	return t.Kind().String()
}

// unknown returns the path of the first field that a type does not have, or
// the empty path.
func unknown(raw []byte, t reflect.Type, path string) string {
	if t.Kind() == reflect.Pointer {
		return unknown(raw, t.Elem(), path)
	}
	if t.Kind() == reflect.Struct && !readsText(t) {
		known := fieldsOf(t)
		for _, name := range slices.Sorted(maps.Keys(object(raw))) {
			if _, ok := known[name]; !ok {
				return join(path, name)
			}
		}
	}
	for _, part := range partsOf(raw, t, path) {
		if path := unknown(part.raw, part.t, part.path); path != "" {
			return path
		}
	}
	return ""
}

type part struct {
	raw  []byte
	t    reflect.Type
	path string
}

// partsOf takes an object or a list apart, as far as the type knows the parts.
func partsOf(raw []byte, t reflect.Type, path string) []part {
	switch {
	case t.Kind() == reflect.Pointer:
		return partsOf(raw, t.Elem(), path)
	case t.Kind() == reflect.Slice:
		var list []json.RawMessage
		json.Unmarshal(raw, &list)
		parts := make([]part, len(list))
		for i, element := range list {
			parts[i] = part{element, t.Elem(), fmt.Sprintf("%s[%d]", path, i)}
		}
		return parts
	case t.Kind() != reflect.Struct || readsText(t):
		return nil
	}
	var parts []part
	known := fieldsOf(t)
	for name, value := range object(raw) {
		if field, ok := known[name]; ok {
			parts = append(parts, part{value, field, join(path, name)})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.path, b.path) })
	return parts
}

func object(raw []byte) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	json.Unmarshal(raw, &fields)
	return fields
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// readsText reports whether JSON sees the type as a text.
func readsText(t reflect.Type) bool {
	_, ok := reflect.New(t).Interface().(interface{ UnmarshalText([]byte) error })
	return ok
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
