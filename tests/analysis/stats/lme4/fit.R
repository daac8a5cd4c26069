# Fits each data set by lme4 and writes the numbers that tests/analysis/stats/test_lme4.py compares with.
#
#   Rscript fit.R FOLDER OUT.json
#
# FOLDER has CSVs with the columns arm, seed, unit, fold and score; the reference is the arm "baseline". A model of all
# arms is fitted, and one of each arm with the reference alone, since the model of all pools variances over arms. With
# several folds, seeds are others in each fold, and the arm's effect is the mean of its effects in the folds.
suppressMessages({
  library(lme4)
  library(lmerTest)
  library(emmeans)
  library(jsonlite)
})
# Satterthwaite's freedom in emmeans, and of data sets of any size.
emm_options(lmer.df = "satterthwaite", lmerTest.limit = 1e5)

# Tighter than the defaults, which leave an error of 1e-4 in variances: bobyqa ends at a trust region of 1e-9.
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5))

fit <- function(rows) {
  rows$arm <- relevel(factor(rows$arm), ref = "baseline")
  rows$seed <- factor(rows$seed)
  rows$unit <- factor(rows$unit)
  rows$fold <- factor(rows$fold)
  folds <- nlevels(rows$fold) > 1
  if (folds) {
    contrasts(rows$fold) <- contr.sum(nlevels(rows$fold))
    formula <- score ~ arm * fold + (1 | unit) + (1 | arm:unit) + (1 | arm:fold:seed)
  } else {
    formula <- score ~ arm + (1 | unit) + (1 | arm:unit) + (1 | arm:seed)
  }
  model <- suppressMessages(lmer(formula, rows, REML = TRUE, control = control))
  variances <- as.data.frame(VarCorr(model))
  component <- function(group) variances$vcov[variances$grp == group]
  table <- summary(model, ddf = "Satterthwaite")$coefficients
  means <- suppressMessages(emmeans(model, "arm"))
  pairs <- as.data.frame(contrast(means, "trt.vs.ctrl", ref = "baseline", adjust = "none"))
  arms <- levels(rows$arm)[-1]
  differences <- lapply(seq_along(arms), function(i) {
    row <- table[paste0("arm", arms[i]), ]
    list(
      estimate = row[["Estimate"]], se = row[["Std. Error"]], df = row[["df"]], p = row[["Pr(>|t|)"]],
      emmeans = list(estimate = pairs$estimate[i], se = pairs$SE[i], df = pairs$df[i], p = pairs$p.value[i])
    )
  })
  names(differences) <- arms
  list(
    components = list(
      seed = component(if (folds) "arm:fold:seed" else "arm:seed"), unit = component("unit"), arm_unit = component("arm:unit"),
      error = component("Residual")
    ),
    differences = differences
  )
}

arguments <- commandArgs(trailingOnly = TRUE)
files <- sort(list.files(arguments[1], pattern = "[.]csv$", full.names = TRUE))
sets <- lapply(files, function(file) {
  rows <- read.csv(file, stringsAsFactors = FALSE)
  arms <- setdiff(unique(rows$arm), "baseline")
  pairs <- lapply(arms, function(arm) fit(rows[rows$arm %in% c(arm, "baseline"), ]))
  names(pairs) <- arms
  list(all = fit(rows), pairs = pairs)
})
names(sets) <- sub("[.]csv$", "", basename(files))
versions <- lapply(c(lme4 = "lme4", lmerTest = "lmerTest", emmeans = "emmeans"), function(name) {
  as.character(packageVersion(name))
})
result <- list(versions = c(list(R = paste(R.version$major, R.version$minor, sep = ".")), versions), sets = sets)
write_json(result, arguments[2], auto_unbox = TRUE, digits = NA, pretty = 1)
