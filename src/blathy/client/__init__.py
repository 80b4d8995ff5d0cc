"""The DLMS/COSEM client: reads any meter, ours or not."""
