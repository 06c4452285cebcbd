/** The square that a network of facekd sees of a face, and the way back from its points to the photo. Plain Java: no Android in it. */
public final class FaceCrop {
    private final double left, top, zoom;

    /**
     * @param box x0, y0, x1, y1 of the face detector, in pixels of the photo
     * @param scale of the card's "box_transform"
     * @param shiftX of the card's "box_transform"
     * @param shiftY of the card's "box_transform"
     * @param cropScale the card's "scale"
     * @param size the card's "size": side of the crop in pixels
     */
    public FaceCrop(double[] box, double scale, double shiftX, double shiftY, double cropScale, int size) {
        double side = Math.max(box[2] - box[0], box[3] - box[1]);
        double x = (box[0] + box[2]) / 2 + side * shiftX, y = (box[1] + box[3]) / 2 + side * shiftY;
        zoom = size / (side * scale * cropScale);
        left = x - (size - 1) / 2.0 / zoom;
        top = y - (size - 1) / 2.0 / zoom;
    }

    /** The matrix from photo to crop, row by row, as `new Matrix().setValues` takes it with 0, 0, 1 as the third row. */
    public double[] matrix() {
        return new double[] {zoom, 0, -left * zoom, 0, zoom, -top * zoom};
    }

    /** The network's points (N, 2), in pixels of the crop, in pixels of the photo. */
    public double[][] toPhoto(float[][] points) {
        double[][] found = new double[points.length][];
        for (int i = 0; i < points.length; i++) {
            found[i] = new double[] {points[i][0] / zoom + left, points[i][1] / zoom + top};
        }
        return found;
    }
}
