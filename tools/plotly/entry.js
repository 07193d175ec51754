// What of Plotly the pages of `lossgrid html` use; scatter is always there.
const Plotly = require("plotly.js/lib/core");

Plotly.register([
  require("plotly.js/lib/heatmap"),
  require("plotly.js/lib/scatter3d"),
  require("plotly.js/lib/surface"),
]);

module.exports = Plotly;
