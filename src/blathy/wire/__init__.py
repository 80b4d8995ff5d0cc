"""Protocol cores without IO, client and server side by side."""
