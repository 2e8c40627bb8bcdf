package grafana

// daemons shows the STS side: what is decided, by what, and whether its audit gets away.
var daemons = sheet{
	uid: "caracal-daemons", title: "Caracal / Daemons", pick: "caracal_daemon_spool_depth", zoned: true,
	about: "What daemons decide, which activation they serve, and whether their audit gets away.",
	rows: []row{
		{"At a glance", []panel{
			{title: "Decisions a second", unit: "reqps", figure: true, wide: 4, queries: []series{
				{`sum(rate(caracal_daemon_decisions_total{job=~"$job",instance=~"$instance",zone=~"$zone"}[$__rate_interval]))`, ""}}},
			{title: "Denied", unit: "percentunit", figure: true, wide: 4, queries: []series{
				{`sum(rate(caracal_daemon_decisions_total{job=~"$job",instance=~"$instance",zone=~"$zone",decision="deny"}[$__rate_interval])) / sum(rate(caracal_daemon_decisions_total{job=~"$job",instance=~"$instance",zone=~"$zone"}[$__rate_interval]))`, ""}}},
			{title: "p99 of a decision", unit: "s", figure: true, wide: 4, about: "From an input to its answer, its durable record included.", queries: []series{
				{`histogram_quantile(0.99, sum by (le) (rate(caracal_daemon_decision_duration_seconds_bucket{job=~"$job",instance=~"$instance",zone=~"$zone"}[$__rate_interval])))`, ""}}},
			{title: "Refused a second", unit: "reqps", figure: true, wide: 4, about: "Requests that were answered without a decision.", queries: []series{
				{`sum(rate(caracal_daemon_refusals_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, ""}}},
			{title: "Records without a place", unit: "short", figure: true, wide: 4, about: "Decisions whose record could not be kept, since the daemons started.", queries: []series{
				{`sum(caracal_daemon_audit_gaps_total{job=~"$job",instance=~"$instance"})`, ""}}},
			{title: "Daemons", unit: "short", figure: true, wide: 4, queries: []series{
				{`count(caracal_daemon_spool_depth{job=~"$job",instance=~"$instance"})`, ""}}},
		}},
		{"Decisions", []panel{
			{title: "By decision and status", unit: "reqps", stacked: true, queries: []series{
				{`sum by (decision, status) (rate(caracal_daemon_decisions_total{job=~"$job",instance=~"$instance",zone=~"$zone"}[$__rate_interval]))`, "{{decision}}, {{status}}"}}},
			{title: "By zone", unit: "reqps", queries: []series{
				{`sum by (zone) (rate(caracal_daemon_decisions_total{job=~"$job",instance=~"$instance",zone=~"$zone"}[$__rate_interval]))`, "{{zone}}"}}},
			{title: "Time of a decision", unit: "s", queries: []series{
				{`histogram_quantile(0.5, sum by (le) (rate(caracal_daemon_decision_duration_seconds_bucket{job=~"$job",instance=~"$instance",zone=~"$zone"}[$__rate_interval])))`, "p50"},
				{`histogram_quantile(0.99, sum by (le) (rate(caracal_daemon_decision_duration_seconds_bucket{job=~"$job",instance=~"$instance",zone=~"$zone"}[$__rate_interval])))`, "p99"},
				{`histogram_quantile(0.999, sum by (le) (rate(caracal_daemon_decision_duration_seconds_bucket{job=~"$job",instance=~"$instance",zone=~"$zone"}[$__rate_interval])))`, "p99.9"}}},
			{title: "Refusals by code", unit: "reqps", queries: []series{
				{`sum by (code) (rate(caracal_daemon_refusals_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, "{{code}}"}}},
			{title: "Answered from the cache", unit: "percentunit", about: "Of what it was asked for: policies that decide as soon as it would do without.", queries: []series{
				{`sum by (instance) (rate(caracal_daemon_cache_hits_total{job=~"$job",instance=~"$instance"}[$__rate_interval])) / (sum by (instance) (rate(caracal_daemon_cache_hits_total{job=~"$job",instance=~"$instance"}[$__rate_interval])) + sum by (instance) (rate(caracal_daemon_cache_misses_total{job=~"$job",instance=~"$instance"}[$__rate_interval])))`, "{{instance}}"}}},
			{title: "Zones evaluated by OPA's evaluator", unit: "short", queries: []series{
				{`sum by (zone) (caracal_daemon_zone_interpreted_ratio{job=~"$job",instance=~"$instance",zone=~"$zone"})`, "{{zone}}"}}},
		}},
		{"Policies", []panel{
			{title: "Sequence that is served", unit: "short", about: "Lines of one zone that stay apart are daemons that stay behind.", queries: []series{
				{`max by (zone) (caracal_daemon_pointer_sequence{job=~"$job",instance=~"$instance",zone=~"$zone"})`, "{{zone}}, newest"},
				{`min by (zone) (caracal_daemon_pointer_sequence{job=~"$job",instance=~"$instance",zone=~"$zone"})`, "{{zone}}, oldest"}}},
			{title: "Age of the pointer", unit: "s", about: "Pointers are renewed at half of pointer-ttl.", queries: []series{
				{`max by (zone) (caracal_daemon_pointer_age_seconds{job=~"$job",instance=~"$instance",zone=~"$zone"})`, "{{zone}}"}}},
			{title: "What went wrong", unit: "short", about: "In each hour.", queries: []series{
				{`sum by (zone) (increase(caracal_daemon_load_failures_total{job=~"$job",instance=~"$instance",zone=~"$zone"}[1h]))`, "not loaded: {{zone}}"},
				{`sum by (zone) (increase(caracal_daemon_pointers_refused_total{job=~"$job",instance=~"$instance",zone=~"$zone"}[1h]))`, "pointer refused: {{zone}}"},
				{`sum by (instance) (increase(caracal_daemon_watch_failures_total{job=~"$job",instance=~"$instance"}[1h]))`, "polls failed: {{instance}}"}}},
			{title: "Time to load", unit: "s", about: "To verify, compile and swap a pointer in, whatever the zone; the daemon's log has each.", queries: []series{
				{`histogram_quantile(0.99, sum by (le) (rate(caracal_daemon_load_duration_seconds_bucket{job=~"$job",instance=~"$instance"}[1h])))`, "load, p99"},
				{`histogram_quantile(0.99, sum by (le) (rate(caracal_daemon_compile_duration_seconds_bucket{job=~"$job",instance=~"$instance"}[1h])))`, "compile, p99"}}},
			{title: "Time of the swap", unit: "s", queries: []series{
				{`histogram_quantile(0.99, sum by (le) (rate(caracal_daemon_swap_duration_seconds_bucket{job=~"$job",instance=~"$instance"}[1h])))`, "p99"}}},
			{title: "Bundles fetched", unit: "short", about: "In each hour, by source and outcome.", queries: []series{
				{`sum by (source, outcome) (increase(caracal_daemon_bundle_fetches_total{job=~"$job",instance=~"$instance"}[1h]))`, "{{source}}, {{outcome}}"}}},
			{title: "Pointers taken in", unit: "short", about: "In each hour; renewals are among them.", queries: []series{
				{`sum by (zone) (increase(caracal_daemon_pointers_total{job=~"$job",instance=~"$instance",zone=~"$zone"}[1h]))`, "{{zone}}"}}},
		}},
		{"Audit", []panel{
			{title: "Records not shipped yet", unit: "short", queries: []series{
				{`caracal_daemon_spool_depth{job=~"$job",instance=~"$instance"}`, "{{instance}}"}}},
			{title: "Size of the spool", unit: "bytes", about: "It takes spool-max-bytes, 1 GiB by default.", queries: []series{
				{`caracal_daemon_spool_size_bytes{job=~"$job",instance=~"$instance"}`, "{{instance}}"}}},
			{title: "Lag of the sink", unit: "s", about: "Age of the oldest record that the sink has not taken.", queries: []series{
				{`caracal_daemon_audit_lag_seconds{job=~"$job",instance=~"$instance"}`, "{{instance}}"}}},
			{title: "Batches that were not taken", unit: "short", about: "In each hour; they are sent again.", queries: []series{
				{`sum by (instance, sink) (increase(caracal_daemon_audit_ship_failures_total{job=~"$job",instance=~"$instance"}[1h]))`, "{{instance}}, {{sink}}"}}},
			{title: "Records shipped", unit: "reqps", queries: []series{
				{`sum by (instance) (rate(caracal_daemon_audit_shipped_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, "{{instance}}"}}},
			{title: "Bytes shipped", unit: "Bps", queries: []series{
				{`sum by (instance) (rate(caracal_daemon_audit_shipped_bytes_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, "{{instance}}"}}},
		}},
		{"Process", processPanels("caracal_daemon_spool_depth")},
	},
}

// controlPlane shows the admin side: who watches, what is written, and how it answers.
var controlPlane = sheet{
	uid: "caracal-control-plane", title: "Caracal / Control plane", pick: "caracal_admin_zones",
	about: "Who follows the control plane, what is written, how it answers, and what of the audit comes in.",
	rows: []row{
		{"At a glance", []panel{
			{title: "Long polls", unit: "short", figure: true, wide: 6, about: "About one for each daemon.", queries: []series{
				{`sum(caracal_admin_watchers{job=~"$job",instance=~"$instance"})`, ""}}},
			{title: "Zones", unit: "short", figure: true, wide: 6, queries: []series{
				{`max(caracal_admin_zones{job=~"$job",instance=~"$instance"})`, ""}}},
			{title: "Audit records a second", unit: "reqps", figure: true, wide: 6, queries: []series{
				{`sum(rate(caracal_admin_audit_records_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, ""}}},
			{title: "Calls that fail", unit: "percentunit", figure: true, wide: 6, queries: []series{
				{`(sum(rate(http_server_request_duration_seconds_count{job=~"$job",instance=~"$instance",http_response_status_code=~"5.."}[$__rate_interval])) or vector(0)) / sum(rate(http_server_request_duration_seconds_count{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, ""}}},
		}},
		{"Distribution", []panel{
			{title: "Long polls and tails", unit: "short", about: "max-watchers bounds them, 20,000 by default.", queries: []series{
				{`caracal_admin_watchers{job=~"$job",instance=~"$instance"}`, "long polls, {{instance}}"},
				{`caracal_admin_audit_tails{job=~"$job",instance=~"$instance"}`, "tails, {{instance}}"}}},
			{title: "Pointers moved, polls woken", unit: "short", about: "In each 5 minutes.", queries: []series{
				{`sum by (instance) (increase(caracal_admin_pointer_moves_total{job=~"$job",instance=~"$instance"}[5m]))`, "moved, {{instance}}"},
				{`sum by (instance) (increase(caracal_admin_watch_wakes_total{job=~"$job",instance=~"$instance"}[5m]))`, "woken, {{instance}}"}}},
			{title: "Daemons by state", unit: "short", stacked: true, queries: []series{
				{`max by (state) (caracal_admin_daemons{job=~"$job",instance=~"$instance"})`, "{{state}}"}}},
			{title: "Replica that does the upkeep", unit: "short", about: "One of those that share a store has 1.", queries: []series{
				{`caracal_admin_leads{job=~"$job",instance=~"$instance"}`, "{{instance}}"}}},
			{title: "Bundles and the object store", unit: "short", about: "Nothing waits where no object store is set. A conflict is another object under a bundle's hash.", queries: []series{
				{`max(caracal_admin_bundle_store_pending{job=~"$job",instance=~"$instance"})`, "to publish"},
				{`max(caracal_admin_bundle_store_conflicts{job=~"$job",instance=~"$instance"})`, "in conflict"}}},
			{title: "Receipts", unit: "reqps", about: "What daemons say of the version that is active: loaded, or failed.", queries: []series{
				{`sum by (state) (rate(caracal_admin_receipts_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, "{{state}}"}}},
		}},
		{"API", []panel{
			{title: "Calls by route", unit: "reqps", queries: []series{
				{`sum by (http_route) (rate(http_server_request_duration_seconds_count{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, "{{http_route}}"}}},
			{title: "Calls by status", unit: "reqps", queries: []series{
				{`sum by (http_response_status_code) (rate(http_server_request_duration_seconds_count{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, "{{http_response_status_code}}"}}},
			{title: "p99 by route", unit: "s", about: "Without long polls and tails, which wait.", queries: []series{
				{`histogram_quantile(0.99, sum by (http_route, le) (rate(http_server_request_duration_seconds_bucket{job=~"$job",instance=~"$instance",http_route!~"/v1/pointers/watch|/v1/zones/.*/audit/tail"}[$__rate_interval])))`, "{{http_route}}"}}},
			{title: "Writes", unit: "short", about: "In each 5 minutes, by operation.", queries: []series{
				{`sum by (operation) (increase(caracal_admin_writes_total{job=~"$job",instance=~"$instance"}[5m]))`, "{{operation}}"}}},
		}},
		{"Audit", []panel{
			{title: "Records", unit: "reqps", queries: []series{
				{`sum by (instance) (rate(caracal_admin_audit_records_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, "stored, {{instance}}"},
				{`sum by (instance) (rate(caracal_admin_audit_duplicates_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, "came again, {{instance}}"}}},
			{title: "Batches by outcome", unit: "reqps", queries: []series{
				{`sum by (outcome) (rate(caracal_admin_audit_batches_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`, "{{outcome}}"}}},
			{title: "Records that never came in, or were removed", unit: "short", about: "In each hour. Retention removes.", queries: []series{
				{`sum by (instance) (increase(caracal_admin_audit_holes_total{job=~"$job",instance=~"$instance"}[1h]))`, "never came in, {{instance}}"},
				{`sum by (instance) (increase(caracal_admin_audit_trimmed_total{job=~"$job",instance=~"$instance"}[1h]))`, "removed, {{instance}}"}}},
		}},
		{"Process", processPanels("caracal_admin_zones")},
	},
}

// processPanels show what a process takes. of is a metric that only these
// processes have: the names here are any Go program's.
func processPanels(of string) []panel {
	only := ` and on (job, instance) ` + of + `{job=~"$job",instance=~"$instance"}`
	return []panel{
		{title: "Processors", unit: "short", queries: []series{
			{`rate(process_cpu_seconds_total{job=~"$job",instance=~"$instance"}[$__rate_interval])` + only, "{{instance}}"}}},
		{title: "Memory", unit: "bytes", queries: []series{
			{`process_resident_memory_bytes{job=~"$job",instance=~"$instance"}` + only, "{{instance}}"}}},
		{title: "Open files and goroutines", unit: "short", queries: []series{
			{`process_open_fds{job=~"$job",instance=~"$instance"}` + only, "files, {{instance}}"},
			{`go_goroutines{job=~"$job",instance=~"$instance"}` + only, "goroutines, {{instance}}"}}},
	}
}
