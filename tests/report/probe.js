// Looks at the page it was put into, and tells the window around it what is wrong: a list of sentences.
"use strict";
const problems = [];
addEventListener("securitypolicyviolation", (event) => problems.push(`wants to load ${event.blockedURI}`));
addEventListener("error", (event) => event.target instanceof HTMLImageElement && problems.push("an image fails"), true);

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const check = (good, problem) => good || problems.push(problem);
const named = (element) => `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}">`;
const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;

function layout() {
  const root = document.scrollingElement;
  check(root.scrollWidth <= innerWidth, `${root.scrollWidth} pixels wide in a window of ${innerWidth}`);
  for (const element of all("body *")) {
    const box = element.getBoundingClientRect();
    if (box.width && !element.closest("svg, .scroll")) {
      check(box.left >= 0 && box.right <= innerWidth + 0.5, `${named(element)} sticks out: ${box.left} to ${box.right}`);
    }
  }
  for (const section of all("section")) {
    check(section.getBoundingClientRect().height > 40, `section ${section.id} has no height`);
  }
}

function charts() {
  for (const svg of all("main svg")) {
    const name = svg.getAttribute("aria-label"), frame = svg.getBoundingClientRect();
    const texts = all("text", svg).map((text) => [text.textContent, text.getBoundingClientRect()]);
    const curves = all("g[clip-path] path, path[clip-path]", svg).map((curve) => curve.getBoundingClientRect());
    texts.forEach(([text, box], i) => {
      const inside = box.left >= frame.left - 1 && box.right <= frame.right + 1 && box.bottom <= frame.bottom + 1;
      check(inside, `${name}: "${text}" is cut off`);
      texts.slice(i + 1).forEach(([other, at]) => check(!overlap(box, at), `${name}: "${text}" lies on "${other}"`));
      check(!curves.some((curve) => overlap(box, curve)), `${name}: "${text}" lies on a curve`);
    });
    for (const element of all("*", svg)) {
      for (const { value } of element.attributes) {
        const target = /^(?:url\()?"?#([\w-]+)"?\)?$/.exec(value)?.[1];
        check(!target || svg.querySelector(`[id="${target}"]`), `${name}: #${target} is not in this figure`);
      }
    }
  }
}

function structure() {
  const ids = all("[id]").map((element) => element.id);
  check(new Set(ids).size === ids.length, `ids stand twice: ${ids.filter((id, i) => ids.indexOf(id) !== i)}`);
  for (const link of all("a")) {
    check(document.getElementById(link.getAttribute("href").slice(1)), `${link.getAttribute("href")} leads nowhere`);
  }
  for (const image of all("img")) {
    check(image.naturalWidth > 0, `image "${image.alt}" cannot be shown`);
    check(image.alt.trim(), "an image has no alternative text");
  }
  all("h1, h2, h3, h4").reduce((before, heading) => {
    check(heading.tagName[1] <= before + 1, `heading "${heading.textContent}" skips a level`);
    return Number(heading.tagName[1]);
  }, 0);
  for (const table of all("table")) check(table.querySelector("th"), `a table has no headers: ${table.innerText}`);
  for (const header of all("th")) check(header.textContent.trim(), `a header is empty: ${header.closest("table").innerText}`);
  const odd = /\b(None|nan|NaN|undefined|null|inf|Infinity)\b.{0,30}/.exec(document.body.innerText);
  check(!odd, `it says "${odd?.[0]}"`);
}

addEventListener("load", () => {
  structure();
  charts();
  layout();
  for (const folded of all("details")) folded.open = true;
  layout();
  const requests = performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:"));
  for (const request of requests) problems.push(`loads ${request.name}`);
  const sections = all("section").map((section) => section.id);
  setTimeout(() => parent.postMessage({ width: innerWidth, problems: [...new Set(problems)], sections }, "*"), 50);
});
