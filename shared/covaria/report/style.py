"""How the report looks on a screen and on paper."""

STYLE = """
body { margin: 0; background: #f4f5f7; color: #16181d; font: 15px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 28px 36px 60px; background: white; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; }
h2 { font-size: 20px; margin: 36px 0 8px; border-bottom: 2px solid #0072B2; padding-bottom: 3px; }
h3 { font-size: 16px; margin: 20px 0 4px; }
.lead { font-size: 18px; }
.quiet { color: #666; margin: 0 0 8px; overflow-wrap: anywhere; }
.warning { background: #fdf1e3; border-left: 4px solid #E69F00; padding: 4px 10px; }
li.warning { list-style: none; margin-left: -20px; }
figure { margin: 14px 0 20px; text-align: center; break-inside: avoid; }
figure img { max-width: 100%; max-height: 520px; }
figcaption { color: #555; font-size: 13px; }
code, pre { font: 12.5px ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
pre { background: #f4f5f7; padding: 8px 12px; white-space: pre-wrap; }
table { border-collapse: collapse; margin: 8px 0; }
th, td { text-align: left; padding: 3px 14px 3px 0; border-bottom: 1px solid #e3e5e8; vertical-align: middle; }
td { overflow-wrap: anywhere; }
th { font-weight: 600; color: #444; }
.states img { width: 140px; height: 90px; object-fit: cover; }
.states tr { break-inside: avoid; }
@media print {
  body { background: white; font-size: 11pt; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
}
"""
