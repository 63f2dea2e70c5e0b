/* Puts a button beside each text that is there to be copied. Without JavaScript one click selects the text. */
"use strict";

(function () {
    async function copy(text) {
        try {
            await navigator.clipboard.writeText(text);
            return true;
        } catch (refused) { // no https, or an older browser
            return false;
        }
    }

    function select(element) {
        const range = document.createRange();
        range.selectNodeContents(element);
        const selection = window.getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
    }

    function addButton(element) {
        const button = document.createElement("button");
        const status = document.createElement("span");
        button.type = "button";
        button.className = "nateq-copy";
        button.textContent = element.dataset.nateqCopyLabel;
        status.setAttribute("role", "status");
        button.addEventListener("click", async () => {
            select(element);
            const done = await copy(element.textContent.trim()) || document.execCommand("copy");
            status.textContent = done ? " ✓ " + element.dataset.nateqCopied : "";
        });
        element.after(button, status);
    }

    document.addEventListener("DOMContentLoaded", () => {
        document.querySelectorAll("[data-nateq-copy-label]").forEach(addButton);
    });
})();
