"""An MCP server for tests, run as its own process over stdio: its tool asks a person before it removes a file.

`python -m tests.support.permission_mcp_server URL SESSION_ID`."""

import sys
from pathlib import Path

from mcp.server import MCPServer

from towow import SimpleNotifier

URL, SESSION_ID = sys.argv[1:3]
TOOL = "remove_file"

mcp = MCPServer("files")


@mcp.tool()
async def remove_file(path: str, permission_id: str, timeout_seconds: float = 60.0) -> str:
    """Remove a file, once somebody has allowed it."""
    async with SimpleNotifier(SESSION_ID, URL) as notifier:
        permission = await notifier.request_permission(
            TOOL, {"path": path}, "high", permission_id, timeout_seconds=timeout_seconds
        )
        if not permission:
            await notifier.tool_result(TOOL, f"denied: {permission.reason}", success=False)
            return f"denied by {permission.actor}: {permission.reason}"
        await notifier.tool_status(TOOL, "executing", {"parameters": {"path": path}, "risk_level": "high"})
        Path(path).unlink()
        await notifier.tool_result(TOOL, f"removed {path}")
        return f"removed, allowed by {permission.actor}"


if __name__ == "__main__":
    mcp.run(transport="stdio")
