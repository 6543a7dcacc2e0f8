package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"

	"uvs/bench"
	"uvs/bench/report"
	"uvs/internal/doctor"
	"uvs/internal/page"
	"uvs/lab"
)

// addSources gives the page what it shows besides the director.
func (f *webFlags) addSources(c *page.Config) error {
	if l := lab.Own(); l != nil {
		c.Title = l.Name
		c.Sources["lab"] = func(context.Context, url.Values) (any, error) { return l.Info() }
	}
	c.Sources["doctor"] = func(ctx context.Context, _ url.Values) (any, error) {
		scene, err := (&doctorFlags{socket: f.socket, lab: c.Title, look: doctorLook}).scene(ctx)
		if err != nil {
			return nil, err
		}
		return doctor.Diagnose(scene), nil
	}
	if f.reports != "" {
		root, err := os.OpenRoot(f.reports)
		if err != nil {
			return fmt.Errorf("--reports: %w", err)
		}
		r := reportDir{root}
		c.Sources["reports"], c.Sources["report"], c.Sources["compare"] = r.list, r.one, r.compare
	}
	return nil
}

// reportDir is a directory with reports of uvs bench.
type reportDir struct{ root *os.Root }

// list names the reports, the newest first.
func (d reportDir) list(context.Context, url.Values) (any, error) {
	files, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	type entry struct {
		Name string `json:"name"`
		Time string `json:"time"`
	}
	all := []entry{}
	for _, f := range files {
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && path.Ext(f.Name()) == ".json" {
			all = append(all, entry{f.Name(), info.ModTime().UTC().Format("2006-01-02T15:04:05Z")})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(b.Time, a.Time) })
	return map[string]any{"reports": all}, nil
}

func (d reportDir) read(name string) (*bench.Report, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", page.ErrBadQuestion, err)
	}
	defer f.Close()
	return bench.ReadReport(f)
}

// one returns the report of the parameter name, with its values by target and measure.
func (d reportDir) one(_ context.Context, query url.Values) (any, error) {
	r, err := d.read(query.Get("name"))
	if err != nil {
		return nil, err
	}
	type series struct {
		Target string    `json:"target"`
		Name   string    `json:"name"`
		Unit   string    `json:"unit"`
		Values []float64 `json:"values"`
	}
	all := []series{}
	for _, s := range r.Results().Series {
		all = append(all, series{s.Target, s.Name, s.Unit, s.Values})
	}
	warnings := []string{}
	if r.Partial != "" {
		warnings = append(warnings, "This report is partial: "+r.Partial)
	}
	return map[string]any{"run": &r.Run, "series": all, "warnings": warnings}, nil
}

// compare compares the reports of the parameters old and new.
func (d reportDir) compare(_ context.Context, query url.Values) (any, error) {
	old, err := d.read(query.Get("old"))
	if err != nil {
		return nil, err
	}
	fresh, err := d.read(query.Get("new"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"changes": report.Compare(old.Results(), fresh.Results())}, nil
}
