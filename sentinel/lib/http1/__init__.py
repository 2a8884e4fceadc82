"""HTTP/1.1 calls to one origin over kept connections: what the provider's calls need, and nothing else.

Why our own: a call must know for certain whether any of it was written, a cancelled reader must cost nothing but its
connection, and a general client spends three times the CPU. Parsing is httptools', TLS and sockets are asyncio's.

1. `Pool.request` (pool.py) takes an idle connection or opens one; until `transport.write` nothing has left (`NotSent`).
2. The parser (connection.py) feeds the `Response` (response.py); a body that nobody reads stops the connection from
   reading on, at BUFFER_BYTES.
3. When the message is complete the connection is idle again; a response that is closed early closes it.
"""
