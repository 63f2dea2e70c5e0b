// Keyboard shortcuts of the lists and of a delivery's page: / j k r. Off while somebody types, and where they are switched off.
"use strict";

(() => {
    const OFF = "nateq-shortcuts-off";
    const TYPING = "input, textarea, select, [contenteditable]";

    const rows = () => [...document.querySelectorAll("#result_list tbody tr")];
    const linkOf = (row) => row && row.querySelector("th a, td a");
    const currentRow = () => document.activeElement.closest("#result_list tbody tr");

    const move = (step) => {
        const all = rows(), at = all.indexOf(currentRow());
        if (all.length) {
            const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1);
            linkOf(all[next])?.focus();
            return true;
        }
        const link = document.querySelector(`.nateq-neighbours [rel="${step > 0 ? "next" : "prev"}"]`);
        link?.click();
        return link !== null;
    };

    const search = () => {
        const field = document.getElementById("searchbar") || document.getElementById("nateq-find");
        field?.focus();
        field?.select();
        return field !== null;
    };

    const runAgain = () => {
        const keys = document.getElementById("nateq-keys");
        const row = linkOf(currentRow());
        if (row && keys.dataset.replay) {
            location.href = new URL("../replay/?which=all", row.href).href;
            return true;
        }
        const link = document.querySelector('.nateq-actions a[href*="/replay/"]');
        link?.click();
        return link !== null;
    };

    const ACTIONS = { "/": search, j: () => move(1), k: () => move(-1), r: runAgain };

    const isOff = () => localStorage.getItem(OFF) !== null;

    document.addEventListener("keydown", (event) => {
        const action = Object.hasOwn(ACTIONS, event.key) ? ACTIONS[event.key] : null;
        const isTyping = event.target.closest && event.target.closest(TYPING) && event.target.type !== "checkbox";
        if (!action || isTyping || isOff() || event.defaultPrevented || event.repeat && event.key === "r") {
            return;
        }
        if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) {
            return;
        }
        if (action()) {
            event.preventDefault();
        }
    });

    document.addEventListener("DOMContentLoaded", () => {
        const keys = document.getElementById("nateq-keys");
        if (!keys) {
            return;
        }
        const button = keys.querySelector("button");
        const label = () => { button.textContent = isOff() ? keys.dataset.on : keys.dataset.off; };
        button.addEventListener("click", () => {
            if (isOff()) {
                localStorage.removeItem(OFF);
            } else {
                localStorage.setItem(OFF, "yes");
            }
            label();
        });
        label();
        keys.hidden = false;
    });
})();
