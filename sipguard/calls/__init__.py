"""What has been seen: transactions, dialogs and registrations, as tables."""
