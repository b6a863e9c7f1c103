import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { asciiHtml } from "../../../control/routing/ascii-html.ts";
import { maintenancePage } from "../../../control/routing/pages.ts";

test("any text becomes printable ASCII on one line", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void assert.match(asciiHtml(text), /^[\x20-\x7e]*$/)));
});

test("what is ASCII on one line is left as it is", () => {
  const text = `<p class="x">{{ }} %[src] \`id\` "q" \\ # ;</p>`;
  assert.is(asciiHtml(text), text);
});

for (const [name, html, ascii] of [
  ["a letter", "<p>ü</p>", "<p>&#252;</p>"],
  ["a character beyond the first plane", "😀", "&#128512;"],
  ["line ends", "<p>a\r\nb\nc\td</p>", "<p>a b c d</p>"],
  ["line ends that mean something", "<pre>a\n\tb</pre>", "<pre>a&#10;&#9;b</pre>"],
  ["a style sheet", "<style>a::after{content:'→'}\nb{}</style>", "<style>a::after{content:'\\2192 '} b{}</style>"],
  ["bytes of terminals", "a\u001b[31mb\u0000", "a[31mb"],
] as const)
  test(`${name} means the same after it`, () => assert.is(asciiHtml(html), ascii));

test("half a character is no reason to fail", () => assert.match(asciiHtml("a\ud800b"), /^a&#55296;b$/));

test("the plain maintenance page escapes the message", () => {
  const page = maintenancePage("hello", { maintenance: true, message: `<script>"x"&'y'</script>` });
  assert.match(page, "&lt;script&gt;&quot;x&quot;&amp;&#39;y&#39;&lt;/script&gt;");
  assert.not.match(page, "<script>");
});

test.run();
