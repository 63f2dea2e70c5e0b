// The lists: a button beside each id copies all of it. Without scripts the title shows it, and the delivery's page has it.
"use strict";

(() => {
    const labels = document.getElementById("nateq-list");

    const addButtons = () => {
        if (!navigator.clipboard || !labels) {
            return; // without a secure context there is no clipboard
        }
        for (const id of document.querySelectorAll("[data-nateq-copy-id]:not([data-nateq-has-button])")) {
            const button = document.createElement("button");
            button.type = "button";
            button.className = "nateq-copy-id";
            button.tabIndex = -1; // a hundred stops of the tab key would keep people from the rows
            button.textContent = "⧉";
            button.title = labels.dataset.copy;
            button.setAttribute("aria-label", `${labels.dataset.copy}: ${id.dataset.nateqCopyId}`);
            button.addEventListener("click", async () => {
                await navigator.clipboard.writeText(id.dataset.nateqCopyId);
                button.textContent = "✓";
                setTimeout(() => { button.textContent = "⧉"; }, 2000);
            });
            id.dataset.nateqHasButton = "";
            id.after(button);
        }
    };

    document.addEventListener("DOMContentLoaded", addButtons);
    document.addEventListener("nateq:rows", addButtons);
})();
