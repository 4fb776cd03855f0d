"""SenseCore's list of data transfer tasks: one request, in protobuf's JSON."""
