package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"uvs/forwarder/config"
)

// decode reads exactly one JSON value into v (RFC 8259, RFC 7493). It returns a FieldError
// with the path of the offending value for: a name that v does not have, spelt exactly; a
// name that occurs twice in an object; null anywhere; a value of a wrong type or out of
// range; text that is not UTF-8; and anything after the value.
func decode(r io.Reader, v any) error {
	err := json.UnmarshalRead(r, v, json.RejectUnknownMembers(true), json.WithUnmarshalers(readers))
	if err == nil {
		return nil
	}
	var syntax *jsontext.SyntacticError
	var kind *json.SemanticError
	switch {
	case errors.As(err, &syntax):
		return malformed(syntax)
	case errors.As(err, &kind):
		return typeProblem(kind)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &config.FieldError{Field: "body", Problem: fmt.Sprintf("it did not arrive within %v", requestTime)}
	case errors.Is(err, io.EOF):
		return &config.FieldError{Field: "body", Problem: "it is empty"}
	}
	return fmt.Errorf("read the request: %w", err)
}

var errNull = errors.New("null is no value: leave out what has none")

// errNoMark keeps an empty object from being a rule that removes all marks.
var errNoMark = errors.New("a rule needs a mark")

// readers refuse null, which encoding/json would take for a zero value, give a server
// ipvsadm's defaults for fields that are missing, and require the mark of a rule.
var readers = json.JoinUnmarshalers(
	json.UnmarshalFromFunc(func(d *jsontext.Decoder, _ any) error {
		if d.PeekKind() == jsontext.KindNull {
			return errNull
		}
		return errors.ErrUnsupported // for the next reader
	}),
	json.UnmarshalFromFunc(func(d *jsontext.Decoder, s *config.Server) error {
		type plain config.Server // a type without this reader
		*s = config.NewServer()
		return json.UnmarshalDecode(d, (*plain)(s))
	}),
	json.UnmarshalFromFunc(func(d *jsontext.Decoder, r *config.MarkRule) error {
		type plain config.MarkRule
		read := struct {
			plain
			Mark *uint32 `json:"mark"`
		}{}
		if err := json.UnmarshalDecode(d, &read); err != nil {
			return err
		}
		if read.Mark == nil {
			return errNoMark
		}
		read.plain.Mark = *read.Mark
		*r = config.MarkRule(read.plain)
		return nil
	}),
)

func malformed(err *jsontext.SyntacticError) error {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return &config.FieldError{Field: fieldOf(err.JSONPointer), Problem: "it is there twice"}
	case errors.Is(err.Err, io.ErrUnexpectedEOF):
		return &config.FieldError{Field: "body", Problem: fmt.Sprintf("not JSON: it ends at byte %d, within a value", err.ByteOffset)}
	}
	return &config.FieldError{Field: "body", Problem: fmt.Sprintf("not JSON at byte %d: %v", err.ByteOffset, err.Err)}
}

func typeProblem(err *json.SemanticError) error {
	problem := fmt.Sprintf("%s is no value for %s", kindName(err.JSONKind), nameOf(err.GoType))
	switch {
	case errors.Is(err, json.ErrUnknownName):
		problem = "there is no such field"
	case len(err.JSONValue) > 0 && err.JSONKind == jsontext.KindNumber:
		problem = fmt.Sprintf("%s is no value for %s", err.JSONValue, nameOf(err.GoType))
	case err.Err != nil:
		problem = err.Err.Error()
	}
	return &config.FieldError{Field: fieldOf(err.JSONPointer), Problem: problem}
}

// fieldOf formats a JSON pointer as the usual path of a field:
// commands[3].server.weight.
func fieldOf(p jsontext.Pointer) string {
	var path strings.Builder
	for token := range p.Tokens() {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			fmt.Fprintf(&path, "[%s]", token)
		case path.Len() > 0:
			path.WriteString("." + token)
		default:
			path.WriteString(token)
		}
	}
	if path.Len() == 0 {
		return "body"
	}
	return path.String()
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "a list"
	case jsontext.KindString:
		return "a text"
	case jsontext.KindNumber:
		return "a number"
	}
	return k.String()
}

func nameOf(t reflect.Type) string {
	if t == nil {
		return "this"
	}
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
