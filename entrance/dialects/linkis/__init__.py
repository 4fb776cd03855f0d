"""The Linkis API: ``/api/rest_j/v1``, and the endpoints of our own that use its envelope."""
