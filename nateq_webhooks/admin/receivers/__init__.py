"""The pages about receivers: what each gets, how its runs go, what holds them back; pause, resume, drop."""
