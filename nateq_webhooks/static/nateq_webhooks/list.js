// The lists: buttons that copy ids, names of the values on a phone's cards, and rows that follow along. Without scripts a
// title shows each id, and the page is reloaded.
"use strict";

(() => {
    const EVERY_MS = 5000;
    const MOST_ERRORS = 3;
    const FOLLOWS = "nateq-follow";

    const texts = () => document.getElementById("nateq-list").dataset;

    const addCopyButtons = () => {
        if (!navigator.clipboard) {
            return; // without a secure context there is no clipboard
        }
        const label = texts().copy;
        for (const id of document.querySelectorAll("[data-nateq-copy-id]:not([data-nateq-has-button])")) {
            const button = document.createElement("button");
            button.type = "button";
            button.className = "nateq-copy-id";
            button.tabIndex = -1; // a hundred stops of the tab key would keep people from the rows
            button.textContent = label;
            button.setAttribute("aria-label", `${label}: ${id.dataset.nateqCopyId}`);
            button.addEventListener("click", async () => {
                await navigator.clipboard.writeText(id.dataset.nateqCopyId);
                button.textContent = "✓";
                setTimeout(() => { button.textContent = label; }, 2000);
            });
            id.dataset.nateqHasButton = "";
            id.after(button);
        }
    };

    // Django's markup of a cell does not name its column.
    const nameValues = () => {
        const titles = [...document.querySelectorAll("#result_list thead th")];
        const labels = titles.map((title) => title.querySelector(".text")?.textContent.trim() || "");
        for (const row of document.querySelectorAll("#result_list tbody tr")) {
            [...row.cells].forEach((cell, index) => {
                if (labels[index] && cell.tagName === "TD" && !cell.querySelector(".nateq-badge")) {
                    cell.dataset.label = labels[index];
                }
            });
        }
    };

    const rowsOf = (page) => page.querySelector("#result_list tbody");
    const linkOf = (row) => row.querySelector("th a, td a")?.href;
    const isTicked = () => document.querySelector("#result_list .action-select:checked") !== null;

    // Django's script for the actions keeps the checkboxes that it has found, so they stay.
    const keepCheckboxes = (former, latter) => {
        const kept = former.querySelectorAll(".action-select");
        latter.querySelectorAll(".action-select").forEach((box, index) => {
            if (kept[index]) {
                kept[index].value = box.value;
                kept[index].setAttribute("aria-label", box.getAttribute("aria-label") || "");
                box.replaceWith(kept[index]);
            }
        });
    };

    const show = (page) => {
        const former = rowsOf(document), latter = rowsOf(page);
        if (!former || !latter) {
            location.reload(); // the first row, or the last one, changes the page
            return 0;
        }
        const known = new Set([...former.rows].map(linkOf));
        const focused = document.activeElement.closest("#result_list tbody tr");
        const target = focused && linkOf(focused);
        keepCheckboxes(former, latter);
        former.replaceChildren(...latter.rows);
        for (const selector of [".nateq-histogram", ".nateq-count"]) {
            const one = document.querySelector(selector), other = page.querySelector(selector);
            if (one && other && !one.contains(document.activeElement)) {
                one.replaceWith(other);
            }
        }
        addCopyButtons();
        nameValues();
        if (target) {
            [...former.rows].find((row) => linkOf(row) === target)?.querySelector("th a, td a").focus();
        }
        return [...former.rows].filter((row) => !known.has(linkOf(row))).length;
    };

    const startFollowing = (button, status) => {
        let timer = 0, errors = 0;

        const stop = (text) => {
            clearTimeout(timer);
            timer = 0;
            button.setAttribute("aria-pressed", "false");
            sessionStorage.removeItem(FOLLOWS);
            status.textContent = text;
        };
        const look = async () => {
            if (!document.hidden && !isTicked()) {
                let answer = null;
                try {
                    answer = await fetch(location.href);
                } catch {
                    // The network is gone; the next look may find it.
                }
                if (!timer) {
                    return; // stopped meanwhile
                }
                if (answer && answer.redirected) {
                    stop(texts().stopped); // to the login
                    return;
                }
                errors = answer && answer.ok ? 0 : errors + 1;
                if (errors === MOST_ERRORS) {
                    stop(texts().stopped);
                    return;
                }
                if (errors === 0) {
                    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
                    const number = isTicked() ? 0 : show(page);
                    if (number) {
                        status.textContent = `${texts().found} ${number}`;
                    }
                }
            }
            timer = setTimeout(look, EVERY_MS);
        };
        const start = () => {
            button.setAttribute("aria-pressed", "true");
            sessionStorage.setItem(FOLLOWS, "yes");
            status.textContent = texts().following;
            timer = setTimeout(look, EVERY_MS);
        };
        button.addEventListener("click", () => (timer ? stop("") : start()));
        if (sessionStorage.getItem(FOLLOWS)) {
            start();
        }
    };

    document.addEventListener("DOMContentLoaded", () => {
        if (!document.getElementById("nateq-list")) {
            return;
        }
        addCopyButtons();
        nameValues();
        const button = document.getElementById("nateq-follow");
        if (button) {
            button.parentElement.hidden = false;
            startFollowing(button, document.getElementById("nateq-follow-status"));
        }
    });
})();
