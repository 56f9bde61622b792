/* The teacher that the Try it tab shows. */
export const teacherChosen = () => document.querySelector(".frami-samples")?.dataset.teacher;
