"""The one-command stack: embedded Redis, simulators, gateway, worker, beat; readiness, supervision, clean stop."""
