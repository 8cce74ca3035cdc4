"""What storage looks like to the front ends: one interface, its layers and backends."""
