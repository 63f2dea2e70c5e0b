// A delivery's page: copies text, finds text in the tree, and loads the rest of a tree into its place.
// All of it works without scripts: a click selects a value, and the search and the rest are pages.
"use strict";

(() => {
    const copyText = async (button, text) => {
        await navigator.clipboard.writeText(text);
        const label = button.textContent;
        button.textContent = button.dataset.nateqDone;
        setTimeout(() => { button.textContent = label; }, 2000);
    };

    // Without a secure context there is no clipboard, and the buttons stay hidden.
    if (navigator.clipboard) {
        for (const button of document.querySelectorAll("[data-nateq-copy]")) {
            button.hidden = false;
            button.addEventListener("click", () => {
                copyText(button, document.getElementById(button.dataset.nateqCopy).textContent);
            });
        }
        for (const button of document.querySelectorAll("[data-nateq-copy-url]")) {
            button.hidden = false;
            button.addEventListener("click", async () => {
                const answer = await fetch(button.dataset.nateqCopyUrl);
                if (answer.ok) {
                    copyText(button, await answer.text());
                }
            });
        }
    }

    const tree = document.querySelector(".nateq-tree");
    if (!tree) {
        return;
    }

    const fold = (selector, open) => {
        const button = document.querySelector(selector);
        button.hidden = false;
        button.addEventListener("click", () => {
            for (const details of tree.querySelectorAll("details")) {
                details.open = open;
            }
        });
    };
    fold("[data-nateq-unfold]", true);
    fold("[data-nateq-fold]", false);

    const field = document.getElementById("nateq-find");
    const output = document.querySelector("[data-nateq-found]");

    const find = () => {
        const wanted = field.value.trim().toLowerCase();
        let found = 0;
        for (const part of tree.querySelectorAll(".nateq-key, .nateq-value")) {
            const hit = wanted !== "" && part.textContent.toLowerCase().includes(wanted);
            part.classList.toggle("nateq-hit", hit);
            if (!hit) {
                continue;
            }
            found += 1;
            for (let details = part.closest("details"); details; details = details.parentElement.closest("details")) {
                details.open = true;
            }
        }
        output.textContent = wanted ? `${output.dataset.nateqFound} ${found}` : "";
    };
    field.addEventListener("input", find);

    // The rest of a list comes from the page that the link leads to; if that fails, the link is followed.
    tree.addEventListener("click", async (event) => {
        const link = event.target.closest(".nateq-rest > a");
        if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) {
            return;
        }
        event.preventDefault();
        let answer;
        try {
            answer = await fetch(`${link.href}&part`);
        } catch {
            answer = null;
        }
        if (!answer || !answer.ok || answer.redirected) {
            location.href = link.href;
            return;
        }
        const lines = new DOMParser().parseFromString(`<ul>${await answer.text()}</ul>`, "text/html").querySelector("ul");
        const first = lines.firstElementChild;
        link.parentElement.replaceWith(...lines.children);
        const target = first && first.querySelector("summary, a");
        if (target) {
            target.focus();
        } else if (first) {
            first.tabIndex = -1;
            first.focus();
        }
        find();
    });
})();
