"""The published contract: headers, library, package."""
