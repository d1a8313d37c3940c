"use strict";
// A shaded text: the passage under the pointer or the focus says what is told of it, and shows those it points to.
for (const card of document.querySelectorAll(".passages")) {
  const told = card.querySelector(".told");
  const passages = [...card.querySelectorAll(".passage")];
  const show = (event) => {
    const passage = event.target.closest(".passage");
    if (!passage) return;
    const linked = new Set(passage.dataset.linked.split(" ").filter(Boolean).map(Number));
    passages.forEach((other, place) => {
      other.classList.toggle("linked", linked.has(place));
      other.classList.toggle("on", other === passage);
    });
    told.textContent = passage.dataset.told;
  };
  card.addEventListener("mouseover", show);
  card.addEventListener("focusin", show);
}
