"""The words around the tables of docs/results/dpg.md."""

PAGE = """# Deterministic against stochastic policy gradients

The experiments of Silver et al. (2014), sections 5.1 and 5.2, with `agents.DPG` and `agents.OffPAC`. Means over seeds
({seeds} on the bandit) with 95 % bootstrap intervals. Settings were searched with other seeds; an exception on the
bandit is said below.

## Continuous bandit

{bandit_verdict} SAC-B's actor step is that of one
action a batch; the paper's text leaves this open, its second experiment rules the average over the batch out (see
below). Against our ablations that do average, and may start as narrow as COPDAC-B's noise, the criterion would not be
met.

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
runs. "sampled": the same at the end, acting with the stochastic policy itself. "P(COPDAC-Q better)": probability that a
run of COPDAC-Q ends higher than one of the other method. All methods had the same grid of 6 step sizes for the actor
and 2 for the critic v, and 2 values of a third constant: alpha_w for COPDAC-Q, lambda for Off-PAC and SAC. All settings
had one seed, the best three two more; the seeds of the table are others. "sac-one-step" is SAC with lambda = 0, as
COPDAC-Q has no traces.

What the table shows and what it does not:

* **Pendulum**: COPDAC-Q passes the others after 20 000 steps and is ahead over the last {final_points} evaluations; in
  the very last one SAC has caught up.
* **Mountain car**: COPDAC-Q is ahead of Off-PAC and of SAC without traces. All of its runs reach the goal at the end,
  in 162 steps at most; seven of SAC's thirty never do, and its mean is the worse for them. Where SAC succeeds it is
  shorter, so that its median is the better one: the two are level only in the sense that the intervals overlap.
* **Puddle world**: COPDAC-Q is level with Off-PAC and SAC, of which the latter loses some runs late, but
  **behind the stochastic actor-critic without traces** in most pairs of runs, which the paper does not report. Why
  is open. COPDAC-Q keeps exploring half the legal range, where SAC learns to explore less; a trial with less noise did
  not show that to be the reason (see below).
* The means of COPDAC-Q hold single bad evaluations among the last {final_points} of a run; its medians do not.
* The runs are short ({n_steps} steps), and three seeds a finalist choose settings that are not safe on every seed.

Puddle world again, 200,000 steps, with other noise around COPDAC-Q's mean: all that was tried at this length and ran to
its end. No command makes this table; it is `benchmarks.dpg_control.learning_curve` with another `BEHAVIOR_STD`, in a
loop that was not kept.

| method | noise | actor | critic | third | return by seed, from seed 200 on |
|---|---:|---:|---:|---:|---:|
| copdac-q | 1 | 0.002 | 0.2 | 0.1 | -12.7, -14.9, -17.2, -15.5, -15.4, -17.5 |
| copdac-q | 1 | 0.002 | 0.2 | 0.03 | -15.1, -16.1, -15.9, -16.4, -15.0, -16.2 |
| copdac-q | 1 | 0.01 | 0.2 | 0.03 | -15.4, -15.4, -14.6, -15.6, -15.1, -13.8 |
| copdac-q | 1 | 0.01 | 0.2 | 0.1 | -219.2, -14.4, -12.7, -13.7 |
| copdac-q | 1 | 0.002 | 0.1 | 0.1 | -12.1, -16.7, -11.8, -15.6 |
| copdac-q | 0.5 | 0.002 | 0.2 | 0.4 | -11.8, -13.2, -12.0, -15.3 |
| copdac-q | 0.5 | 0.005 | 0.2 | 0.4 | -11.9, -15.2, -14.7, -16.2 |
| copdac-q | 0.5 | 0.01 | 0.2 | 0.1 | -15.8, -16.9, -15.4, -15.3 |
| copdac-q | 0.5 | 0.002 | 0.1 | 0.4 | -11.6, -11.8, -11.6, -11.7 |
| copdac-q | 0.35 | 0.002 | 0.2 | 0.8 | -12.6, -15.4, -14.0, -16.4 |
| copdac-q | 0.25 | 0.01 | 0.2 | 1 | -17.8, -12.7, -12.7, -15.4 |
| sac-one-step | learned | 0.002 | 0.2 | 0 | -11.4, -11.3, -11.4, -11.3, -11.3, -11.7 |

"noise" is the standard deviation in units of half the legal range. One of the eleven settings of COPDAC-Q is level with
the one of SAC, but it was picked on these seeds. On the fresh seeds 300 to 303 it has -15.0, -11.7, -12.2, -14.8, and
the same with noise 1 and alpha_w = 0.1 has -12.0, -11.9, -12.2, -16.2: no difference that four seeds could show. Both
methods improve with four times the steps. Some runs of COPDAC-Q reach SAC's -11 to -12, others stay near -15.

All use 10 tilings of 10 x 10 tiles and a bias, begin with a variance of half the legal range and keep it as the
behavior's (COPDAC-Q, Off-PAC) or learn it (SAC, on-policy). Dynamics and rewards are written at the environments,
`actorzoo/ContinuousMountainCar-v0`, `actorzoo/ContinuousPendulum-v0` and `actorzoo/ContinuousPuddleWorld-v0`; the paper
gives none.

{provenance}
"""
