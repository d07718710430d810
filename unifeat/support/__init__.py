"""What every room stands on and no science is in: the store of results, locks, errors, parallel work."""
