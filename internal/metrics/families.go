package metrics

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// families are the metrics of one scrape. A director can have a hundred thousand series, so
// their memory is used again for the next one.
type families struct {
	all   map[string]*dto.MetricFamily
	cells [][]cell
	used  int
}

// cell is a series that is a counter or a gauge.
type cell struct {
	metric  dto.Metric
	counter dto.Counter
	gauge   dto.Gauge
	value   float64
	labels  [maxLabels]*dto.LabelPair
}

const (
	maxLabels = 6
	cellStep  = 1024 // cells whose memory is allocated at once
)

func newFamilies() *families { return &families{all: map[string]*dto.MetricFamily{}} }

// reset makes place for the next scrape.
func (f *families) reset() {
	f.used = 0
	for _, family := range f.all {
		clear(family.Metric)
		family.Metric = family.Metric[:0]
	}
}

// family adds series of one name.
type family struct {
	*dto.MetricFamily
	of *families
}

func (f *families) family(name, help string, kind dto.MetricType) family {
	if f.all[name] == nil {
		f.all[name] = &dto.MetricFamily{Name: &name, Help: &help, Type: &kind}
	}
	return family{f.all[name], f}
}

func (f *families) counter(name, help string) family {
	return f.family(name, help, dto.MetricType_COUNTER)
}

func (f *families) gauge(name, help string) family {
	return f.family(name, help, dto.MetricType_GAUGE)
}

// add adds a series.
func (f family) add(value float64, labels ...*dto.LabelPair) {
	c := f.of.cell()
	c.value = value
	c.metric.Label = c.labels[:copy(c.labels[:], labels)]
	c.metric.Counter, c.metric.Gauge = nil, nil
	if f.GetType() == dto.MetricType_COUNTER {
		c.counter.Value, c.metric.Counter = &c.value, &c.counter
	} else {
		c.gauge.Value, c.metric.Gauge = &c.value, &c.gauge
	}
	f.Metric = append(f.Metric, &c.metric)
}

// count is add for a number of things.
func (f family) count(n uint64, labels ...*dto.LabelPair) { f.add(float64(n), labels...) }

// truth is add for what is so or not.
func (f family) truth(is bool, labels ...*dto.LabelPair) {
	if is {
		f.add(1, labels...)
		return
	}
	f.add(0, labels...)
}

// histogram adds a series of a histogram: how many there were up to each bound and above the one
// before, and, if there is one count more, above the last.
func (f family) histogram(bounds []float64, counts []uint64, sum float64, labels ...*dto.LabelPair) {
	h := &dto.Histogram{SampleSum: proto.Float64(sum)}
	total := uint64(0)
	for i, n := range counts {
		if total += n; i < len(bounds) {
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(bounds[i]), CumulativeCount: proto.Uint64(total)})
		}
	}
	h.SampleCount = proto.Uint64(total)
	f.Metric = append(f.Metric, &dto.Metric{Label: labels, Histogram: h})
}

func (f *families) cell() *cell {
	if f.used == len(f.cells)*cellStep {
		f.cells = append(f.cells, make([]cell, cellStep))
	}
	c := &f.cells[f.used/cellStep][f.used%cellStep]
	f.used++
	return c
}

// label returns a label. Many series can share it.
func label(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: proto.String(name), Value: proto.String(strings.ToValidUTF8(value, "\uFFFD"))}
}

// sorted returns the families that have series, and those of others, by name.
func (f *families) sorted(others []*dto.MetricFamily) []*dto.MetricFamily {
	all := slices.Clone(others)
	for _, family := range f.all {
		if len(family.Metric) > 0 {
			all = append(all, family)
		}
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}
