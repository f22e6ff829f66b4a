"""The status page: rendered here, readable without JavaScript, its forms are the operations of `/v1`."""
