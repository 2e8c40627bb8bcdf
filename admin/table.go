package admin

import "slices"

// routes is the table of all calls, in the order of the documentation.
func routes() []route {
	return slices.Concat(
		zoneRoutes(),
		policyRoutes(),
		setRoutes(),
		simulateRoutes(),
		replayRoutes(),
		activateRoutes(),
		tokenRoutes(),
		adminAuditRoutes(),
		activationStatusRoutes(),
		auditRoutes(),
		auditSummaryRoutes(),
		watchRoutes(),
		bundleRoutes(),
		receiptRoutes(),
		batchRoutes(),
		daemonRoutes(),
		healthRoutes(),
		documentRoutes(),
	)
}
