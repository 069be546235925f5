"""Stage 04, HTTP server: the engine as a service that speaks OpenAI's protocol and streams."""
