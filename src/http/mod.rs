//! Just enough HTTP/1.1: heads, responses, small bodies, both roles.
