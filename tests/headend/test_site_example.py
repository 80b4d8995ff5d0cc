"""The site of docs/headend.md can be read: two meters, one by password, one by HLS-GMAC."""

from __future__ import annotations

from pathlib import Path

from blathy.headend.inventory.description import read_site

PAGE = Path(__file__).resolve().parents[2] / "docs" / "headend.md"


def test_the_documented_site_can_be_read(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8").split("```toml\n", 1)[1].split("```\n", 1)[0]
    path = tmp_path / "site.toml"
    path.write_text(text, "utf-8")
    site = read_site(path)
    assert [point.meter.url for point in site.points] == [
        "dlms://127.0.0.1:4391",
        "dlms://127.0.0.1:4392",
    ]
    assert [user.role for user in site.users] == ["admin"]
    mechanisms = [point.meter.associations[0].mechanism for point in site.points]
    assert mechanisms == ["lls", "hls_gmac"]
