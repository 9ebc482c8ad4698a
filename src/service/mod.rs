//! What the server is for: echo, chat, broadcast channels, ticks.
