"""The words around the tables of docs/results/dpg.md."""

PAGE = """# Deterministic against stochastic policy gradients

The experiments of Silver et al. (2014), sections 5.1 and 5.2. Control is learned by `agents.DPG` and `agents.OffPAC`;
the bandit's two methods, which fit their critic by least squares to each batch, are written out in
`benchmarks/dpg_bandit.py`. Means over seeds ({seeds} on the bandit) with 95 % bootstrap intervals. Settings were
searched with other seeds; an exception on the bandit is said below.

## Continuous bandit

{bandit_verdict} SAC-B's actor step is that of one
action a batch; the paper's text leaves this open, its second experiment rules the average over the batch out (see
below). Where SAC-B averages over the batch, it is met if SAC-B has to begin with a variance of 1 (the last rows of the
ablations), as implementations seem to do whose SAC-B ends near 1e-3 to 3e-2, and **not met** if SAC-B may begin as
narrow as COPDAC-B.

![Cost of the mean against actions, three dimensions, logarithmic axes](dpg_bandit.png)

The paper's two experiments:

{bandit}

Cost of the mean policy after 10 000 actions, 2 m a batch; a seed draws the rotation of the costs as well as the
actions. "of COPDAC-B's" is a cost divided by that of COPDAC-B at the same m. All methods had the same grid of step
sizes and of (initial) standard deviations, as in the paper, which sweeps "initial y for SAC; sigma^2 for COPDAC"; SAC-B
had one of step sizes for y besides.

* **"sac-b"** learns mean and variance, and takes one actor step a batch from one action. The deterministic method is
  better by a factor that grows with the dimension by orders of magnitude, as in the paper's Figure 1. Such a step has
  rank one, so that its size must shrink with m.
* **"sac-b, fixed variance"** is the paper's second experiment: SAC-B keeps the variance of COPDAC-B, only the mean is
  learned. The paper reports that this "did not improve" SAC-B, and so it is here.

The paper does not say in so many words at which action of the batch SAC-B's step is taken; the second experiment tells.
With a fixed variance the mean of the step over all actions *is* the step of COPDAC-B, so that an average over the
batch cannot fall behind "by a very wide margin that grows larger with increasing dimension". It is measured below.

Ablations, which are ours:

{bandit_ablations}

* **"sac-b, averaged"** and **"sac-b, averaged, fixed variance"** take the mean of the same gradient over the batch's
  2 m actions, of which the critic has been fitted anyway. Where they may start as narrow as COPDAC-B, **the advantage
  is gone**: their cost is 0.6 to 0.85 of COPDAC-B's, with and without a variance that is learned. The costs are free of
  noise, so that both estimates become exact as the policy narrows. All end at a constant times the square of the
  smallest standard deviation on the grid; smaller ones would lower them alike.
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
runs. "sampled": the same at the end, acting with the stochastic policy itself. "P(COPDAC-Q better)": probability
that a run of COPDAC-Q ends higher than one of the other method. "sac-one-step" is SAC with lambda = 0, as COPDAC-Q
has no traces. The third constant is alpha_w for COPDAC-Q, lambda for Off-PAC and SAC. In each task all methods had the
same grid: 6 step sizes for the actor, 4 for the critic v and 4 values of the third constant; all settings had one
seed, the best twenty three more, the best five of these eight more. The seeds of the table are others.

What the table of 30 seeds shows and what it does not:

* **Pendulum**: COPDAC-Q learns fastest and is ahead of all others over the last {final_points} evaluations, though
  two of its runs stay at half of what the others reach; in the very last evaluation SAC has caught up, 4,972 against
  4,819 in the mean, 4,978 against 4,987 in the median.
* **Mountain car**: COPDAC-Q is ahead of Off-PAC and of SAC without traces. One of its runs misses the goal in the last
  evaluation and two more in one before; eight of SAC's thirty do in the last, and its mean is the worse for them. Where
  SAC succeeds it is about as short or shorter, so that its median is the better one: the two are level only in the
  sense that the intervals overlap.
* **Puddle world**: against SAC without traces and against Off-PAC neither is ahead; SAC with traces ends 0.9 better in
  the median, and ahead in five pairs of runs of seven. One run of COPDAC-Q's thirty (seed 125) never finds the goal
  and ends up standing in a puddle, -92,000 in the last evaluation, which makes the mean of all and its curve in the
  figure; two of SAC's without traces fail in two and three of the last three evaluations, too. So it seems to be
  traces, which COPDAC-Q as published does not have, that put SAC ahead.
* **Taken together**: without traces on either side COPDAC-Q is ahead of the stochastic actor-critic in two tasks and
  level in the third. With a lambda that is searched, SAC is level in mountain car, behind in pendulum and ahead in
  puddle world. The paper gives neither its lambda nor its grids.
* The means of COPDAC-Q hold single bad evaluations among the last {final_points} of a run; its medians do not.
* The runs are short ({n_steps} steps), and twelve seeds a finalist do not tell which settings are safe on every seed:
  COPDAC-Q's and SAC's without traces lost none of the twelve.
* COPDAC-Q's settings in mountain car lie at the grid's upper corner, so that a wider grid may have better ones.

Puddle world is hard to evaluate: a single start whose way cuts through a puddle costs 44 to 100, so that a mean over
ten starts moves by four and more with one of them. The table evaluates 50.

All use 10 tilings of 10 x 10 tiles and a bias, begin with a variance of half the legal range and keep it as the
behavior's (COPDAC-Q, Off-PAC) or learn it (SAC, on-policy). Dynamics and rewards are written at the environments,
`actorzoo/ContinuousMountainCar-v0`, `actorzoo/ContinuousPendulum-v0` and `actorzoo/ContinuousPuddleWorld-v0`; the paper
gives none.

{provenance}
"""
