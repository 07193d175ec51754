"""What commands do, a module each, where it is more than a call of another layer."""
