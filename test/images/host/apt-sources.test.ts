import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseDeb822, parseOneLine, sourceLines } from "../../../images/host/apt-sources.ts";

const wanted = { suite: "bookworm", components: ["main", "non-free-firmware"] };

test("a deb822 stanza gives one source per URI and suite", () => {
  const text =
    "# note\nTypes: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n";
  assert.equal(sourceLines(parseDeb822(text), wanted), [
    "deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main non-free-firmware",
    "deb [signed-by=/k.gpg] http://mirror.example/debian bookworm-updates main non-free-firmware",
  ]);
});

test("a one-line source is read with and without options", () => {
  const text =
    "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main\n deb http://s.example bookworm-security main # x\n#deb http://no.example bookworm main\n";
  assert.equal(sourceLines(parseOneLine(text), wanted), [
    "deb [signed-by=/k.gpg] http://m.example/debian bookworm main non-free-firmware",
    "deb http://s.example bookworm-security main non-free-firmware",
  ]);
});

test("other vendors' suites, source packages and disabled stanzas are left out", () => {
  assert.equal(
    sourceLines(
      parseOneLine("deb http://v.example cloud-sdk-bookworm main\ndeb-src http://m.example bookworm main\n"),
      wanted,
    ),
    [],
  );
  const off =
    "Types: deb\nEnabled: no\nURIs: http://m.example\nSuites: bookworm\n\nTypes: deb-src\nURIs: http://m.example\nSuites: bookworm\n";
  assert.equal(sourceLines(parseDeb822(off), wanted), []);
});

test("the same source named twice is used once", () => {
  const text = "deb http://m.example/debian bookworm main\ndeb http://m.example/debian/ bookworm contrib\n";
  assert.is(sourceLines(parseOneLine(text), wanted).length, 1);
});

test("no text makes the parsers throw or yield a source without URI and suite", () => {
  void fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const found = [...parseDeb822(`Types: deb\n${text}`), ...parseOneLine(`deb ${text}`)];
      assert.ok(found.every(({ uri, suite }) => uri !== "" && suite !== "" && !/\s/.test(uri + suite)));
    }),
  );
});

test.run();
