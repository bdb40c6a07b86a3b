// Draws the diagrams of a page, in the colors of the page: the reader's choice, or else the system's.
// Pages without a diagram load nothing. Without JavaScript, a page shows the text of its diagrams.
"use strict";

(() => {
  const found = [...document.querySelectorAll("pre.mermaid")];
  if (found.length === 0) return;
  const texts = found.map((element) => element.textContent);
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  const draw = async () => {
    const chosen = document.body.dataset.theme;
    const isDark = chosen === "dark" || (chosen !== "light" && system.matches);
    mermaid.initialize({ startOnLoad: false, theme: isDark ? "dark" : "neutral", securityLevel: "strict" });
    found.forEach((element, index) => {
      element.textContent = texts[index];
      element.removeAttribute("data-processed");
    });
    await mermaid.run({ nodes: found });
  };

  const library = document.createElement("script");
  library.src = new URL("mermaid.js", document.currentScript.src).href;
  library.addEventListener("load", () => {
    let drawn = draw();
    const again = () => { drawn = drawn.then(draw, draw); };
    system.addEventListener("change", again);
    new MutationObserver(again).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
  });
  document.head.append(library);
})();
