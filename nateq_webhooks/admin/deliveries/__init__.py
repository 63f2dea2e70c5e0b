"""The deliveries in the admin: the list, the page of one, replays and exports."""
