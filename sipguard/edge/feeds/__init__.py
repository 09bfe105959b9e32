"""What the site already runs gets the same facts: metrics, logs, Homer, fail2ban, webhooks."""
