"""An HTTP server that answers the clients of LibreTranslate."""
