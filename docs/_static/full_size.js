/* A picture that is drawn smaller than it is becomes a link to its full size. */
window.addEventListener("load", () => {
  for (const image of document.querySelectorAll(".bd-article img")) {
    const isThumbnail = image.closest("a, .sphx-glr-thumbcontainer");
    if (isThumbnail || image.naturalWidth <= 1.1 * image.clientWidth) continue;
    const link = document.createElement("a");
    link.href = image.currentSrc || image.src;
    link.title = "Open at full size";
    image.replaceWith(link);
    link.append(image);
  }
});
