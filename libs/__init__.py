"""Libraries the services build on."""
