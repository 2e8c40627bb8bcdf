package report

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-analyze/charts"
)

// plot is one picture.
type plot struct {
	file, title string
	draw        func() (*charts.Painter, error)
}

// plots are those that there are figures for.
func (r *Report) plots() []plot {
	var plots []plot
	bars := func(file, title, group, workload, what, metric string, scale float64) {
		var names []string
		var values []float64
		for _, row := range r.Rows {
			if row.Group == group && row.Workload == workload && row.What == what && row.Metric == metric {
				names, values = append(names, row.Peer), append(values, row.Median/scale)
			}
		}
		if len(names) < 2 {
			return
		}
		plots = append(plots, plot{file, title, func() (*charts.Painter, error) {
			return charts.HorizontalBarRender([][]float64{values}, charts.SVGOutputOptionFunc(), charts.DimensionsOptionFunc(800, 90+40*len(names)),
				charts.TitleTextOptionFunc(title), charts.YAxisLabelsOptionFunc(names), charts.SeriesShowLabel(true), legible,
				func(o *charts.ChartOption) { o.ValueFormatter = number })
		}})
	}
	bars("evaluate.svg", "Evaluate workload A, input parsed before (µs, less is better)", "in process", "A", "evaluate", "time", 1000)
	bars("bytes.svg", "Workload A from bytes to bytes (µs, less is better)", "in process", "A", "bytes to bytes", "time", 1000)
	bars("http.svg", "Decisions over HTTP, workload A, at saturation (thousands a second, more is better)", "http, saturated", "A", "decide", "rate", 1000)
	for i, latencies := range r.Latencies {
		plots = append(plots, plot{fmt.Sprintf("latency-%d.svg", i+1), latencies.Title, latencies.draw})
	}
	return plots
}

// draw draws distributions as lines over the quantiles.
func (c Curves) draw() (*charts.Painter, error) {
	var names, labels []string
	var values [][]float64
	for _, curve := range c.Curves {
		names, values = append(names, curve.Name), append(values, curve.Values)
	}
	for _, q := range Quantiles {
		labels = append(labels, fmt.Sprintf("%g%%", q))
	}
	return charts.LineRender(values, charts.SVGOutputOptionFunc(), charts.DimensionsOptionFunc(800, 400), charts.TitleTextOptionFunc(c.Title),
		charts.LegendOptionFunc(charts.LegendOption{SeriesNames: names, Offset: charts.OffsetStr{Top: "30"}}), charts.XAxisLabelsOptionFunc(labels),
		legible, func(o *charts.ChartOption) { o.ValueFormatter = number })
}

// legible keeps text readable on a dark page too.
func legible(o *charts.ChartOption) { o.Theme = charts.GetTheme(charts.ThemeLight) }

// WritePlots writes the plots as SVG into a directory.
func (r *Report) WritePlots(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range r.plots() {
		painter, err := p.draw()
		if err != nil {
			return fmt.Errorf("drawing %s: %w", p.file, err)
		}
		data, err := painter.Bytes()
		if err != nil {
			return fmt.Errorf("drawing %s: %w", p.file, err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.file), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
