"""The style of the status page, on top of that of every page: light and dark, from a phone's width on."""

STATUS_STYLE = """
:root{color-scheme:light dark;--line:#dfe3e8;--faint:#5f6975;--card:#f6f7f9;--draw:#3565c9;
--PASS:#1a7f4b;--WARN:#a65f00;--FAIL:#c0152f;--UNKNOWN:#6b7580}
body{max-width:72rem}header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.2rem 1.5rem}
header h1{margin:0}nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem}
section{margin-top:2.2rem}h2{margin:0 0 .5rem}h3{font-size:.9rem;margin:0 0 .2rem}p{margin:.3rem 0}
ul{margin:.2rem 0;padding-left:1.1rem}li,h3{overflow-wrap:anywhere}
.faint,.faint *{color:var(--faint)}.faint{font-size:.87rem}.bad{font-weight:600}
main.old{--PASS:var(--UNKNOWN);--WARN:var(--UNKNOWN);--FAIL:var(--UNKNOWN);--draw:var(--UNKNOWN)}
main.old .up,main.old .down{color:var(--faint)}
.scroll{overflow-x:auto}table{font-variant-numeric:tabular-nums}th{font-size:.8rem;font-weight:600;color:var(--faint)}
th,td{padding:.35rem .6rem;border-color:var(--line);vertical-align:top}td.any{overflow-wrap:anywhere}
td.n,th.n,time{white-space:nowrap}th{white-space:nowrap}tr>:first-child{padding-left:0}tr>:last-child{padding-right:0}
.badge{display:inline-block;padding:0 .5em;border-radius:.3em;font-size:.78rem;font-weight:600;line-height:1.6;
color:#fff;background:var(--UNKNOWN);white-space:nowrap}
.badge.GREEN,.badge.PASS{background:var(--PASS)}.badge.YELLOW,.badge.WARN{background:var(--WARN)}
.badge.RED,.badge.FAIL{background:var(--FAIL)}.whole .badge{font-size:1.1rem;padding:.1em .8em}
.up{color:var(--PASS)}.down{color:var(--FAIL)}.tiles,.pair{display:grid;gap:1rem}
.tiles{grid-template-columns:repeat(auto-fit,minmax(min(100%,16rem),1fr))}
.pair{grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.5rem 2.5rem}
.tile{background:var(--card);border-radius:.5rem;padding:.8rem 1rem;min-width:0}.tile h3{color:var(--faint)}
.figure{font-size:1.6rem;font-weight:600;line-height:1.2;font-variant-numeric:tabular-nums}
.ends{display:flex;justify-content:space-between;font-size:.75rem;color:var(--faint);margin:0}
svg{display:block;width:100%;overflow:visible}.bars{height:3.5rem;margin-top:.4rem}.bars rect{fill:var(--draw)}
.bars .room{fill:transparent}.bars g:hover .room{fill:var(--line)}
.spark{width:7.5rem;height:2rem;fill:none;stroke-width:1.5;color:var(--UNKNOWN)}.spark.up{color:var(--PASS)}
.spark.down{color:var(--FAIL)}.spark polyline{stroke:currentColor;stroke-linejoin:round}
.spark polygon{fill:currentColor;opacity:.12}.spark circle{fill:currentColor}
.stack{height:.5rem;max-width:16rem;margin:.4rem 0 .2rem;border-radius:.25rem;overflow:hidden}
.stack .PASS{fill:var(--PASS)}.stack .WARN{fill:var(--WARN)}.stack .FAIL{fill:var(--FAIL)}
.stack .UNKNOWN{fill:var(--UNKNOWN)}
.service{margin:.6rem 0}.service p{margin:0}.chips{display:flex;flex-wrap:wrap;gap:.3rem 1rem;margin:.6rem 0}
details{margin:.2rem 0}summary{cursor:pointer;font-size:.87rem;color:var(--faint)}
@media(max-width:50rem){.wide{display:none}}
@media(max-width:40rem){body{margin:1rem auto}th,td{padding:.35rem .35rem}.spark{width:5.5rem}}
@media(prefers-color-scheme:dark){:root{--line:#33383f;--faint:#9aa4b0;--card:#1f2227;--draw:#7aa2f7;
--PASS:#2f9e63;--WARN:#c98a1b;--FAIL:#e5566b;--UNKNOWN:#7d8793}.badge{color:#10131a}
.up{color:#5fc58d}.down{color:#ff8a95}}
"""
