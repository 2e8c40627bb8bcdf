// Package grafana is the Grafana dashboards as code: what Dashboards builds is
// kept as JSON beside it, for provisioning and for the Helm chart. A test holds
// the files to the code, and every expression to what the processes expose.
package grafana

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// series is one query of a panel and what its lines are called.
type series struct{ expr, legend string }

// panel is one graph, or one figure where figure is set. Unit is Grafana's name
// of a unit; wide is its share of the 24 columns, 8 by default.
type panel struct {
	title, about, unit string
	figure             bool
	stacked            bool
	wide               uint32
	queries            []series
}

type row struct {
	title  string
	panels []panel
}

// sheet is one dashboard.
type sheet struct {
	uid, title, about string
	// pick is what its instances are found by, and zoned tells that it can be
	// narrowed to zones.
	pick  string
	zoned bool
	rows  []row
}

// Dashboards gives the dashboards' JSON by their file names.
func Dashboards() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, s := range []sheet{daemons, controlPlane} {
		built, err := s.build()
		if err != nil {
			return nil, fmt.Errorf("building the dashboard %s: %w", s.uid, err)
		}
		data, err := json.MarshalIndent(built, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("encoding the dashboard %s: %w", s.uid, err)
		}
		files[s.uid+".json"] = append(data, '\n')
	}
	return files, nil
}

// source is the data source that the reader picks.
var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}

// build makes a dashboard in Grafana's classic JSON: file provisioning and the
// sidecar of its Helm chart take no other in every version that is in use.
//
//lint:ignore SA1019 the newer schema cannot be provisioned everywhere, see above
func (s sheet) build() (dashboard.Dashboard, error) {
	//lint:ignore SA1019 the newer schema cannot be provisioned everywhere, see above
	b := dashboard.NewDashboardBuilder(s.title).
		Uid(s.uid).Description(s.about).Tags([]string{"caracal"}).
		Time("now-3h", "now").Refresh("1m").Timezone(common.TimeZoneBrowser).
		Tooltip(dashboard.DashboardCursorSyncCrosshair).Readonly().
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(variable("job", "Job", "label_values("+s.pick+", job)")).
		WithVariable(variable("instance", "Instance", "label_values("+s.pick+`{job=~"$job"}, instance)`))
	if s.zoned {
		b.WithVariable(variable("zone", "Zone", `label_values(caracal_daemon_pointer_sequence{job=~"$job"}, zone)`))
	}
	for _, r := range s.rows {
		b.WithRow(dashboard.NewRowBuilder(r.title))
		for _, p := range r.panels {
			b.WithPanel(p.build())
		}
	}
	return b.Build()
}

// variable lets the reader choose among a label's values; all are chosen at first.
func variable(name, label, query string) *dashboard.QueryVariableBuilder {
	all := dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}}
	shown := dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}}
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source).
		Query(dashboard.StringOrMap{String: &query}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(".*").
		Current(dashboard.VariableOption{Text: shown, Value: all})
}

const height = 8

func (p panel) build() cog.Builder[dashboard.Panel] {
	wide := p.wide
	if wide == 0 {
		wide = 8
	}
	if p.figure {
		b := stat.NewPanelBuilder().Title(p.title).Description(p.about).Unit(p.unit).Datasource(source).
			Height(height / 2).Span(wide).GraphMode(common.BigValueGraphModeArea)
		for i, q := range p.queries {
			b.WithTarget(q.build(i))
		}
		return b
	}
	b := timeseries.NewPanelBuilder().Title(p.title).Description(p.about).Unit(p.unit).Datasource(source).
		Height(height).Span(wide).Min(0).FillOpacity(8).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom))
	if p.stacked {
		b.Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	for i, q := range p.queries {
		b.WithTarget(q.build(i))
	}
	return b
}

func (q series) build(i int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Datasource(source).Expr(q.expr).LegendFormat(q.legend).RefId(string(rune('A' + i)))
}
