"""How each tool is pointed at this gateway: texts, and which tool a request came from."""
